"""The page of ``tlx serve`` in a real browser: photos in, bars out, nothing from elsewhere."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "deploy" / "serving"))

from serving_helpers import Server, start

from tlx.classify.fit import fit_head
from tlx.embed.pipeline import embed_images

SIZES = {"phone": {"width": 390, "height": 844}, "desktop": {"width": 1280, "height": 900}}
HOSTILE = '<img src=x onerror=alert(1)> & "quoted".png'
SECRET = "a-secret-of-tests"


@pytest.fixture(scope="module")
def photos(browser, tmp_path_factory, class_folders, make_grid) -> Path:
    """Return a folder with ``data/`` of 2 x 40 images of a hostile class, and a run of them."""
    pytest.importorskip("fastapi", reason="the extra serve is not installed")
    folder = tmp_path_factory.mktemp("page")
    data = class_folders(folder / "data", {"amber": 40, "<b>teal</b>".replace("/", "|"): 40})
    embed_images(data, workspace=folder / ".tlx", engine=make_grid())
    fit_head("logreg", workspace=folder / ".tlx", name="colours")
    (folder / HOSTILE).write_bytes((data / "amber" / "0001.png").read_bytes())
    (folder / "broken.jpg").write_bytes(b"no photo")
    return folder


@pytest.fixture(scope="module")
def begin(photos, environment, tmp_path_factory) -> Iterator:
    """Return what starts a server of that run."""
    script, started = tmp_path_factory.mktemp("script") / "server_of_tests.py", []

    def begin_one(**settings) -> Server:
        run = photos / ".tlx" / "runs" / "colours"
        started.append(start(run, environment, script, reject=0.3, **settings))
        return started[-1]

    yield begin_one
    for server in started:
        server.process.kill()
        server.process.communicate()


@pytest.fixture(scope="module")
def server(begin) -> Server:
    return begin()


@pytest.fixture
def amber(photos) -> Path:
    return photos / "data" / "amber" / "0000.png"


def cards(page, n: int):
    """Return the cards of n photos, once all are settled."""
    page.wait_for_function("n => document.querySelectorAll('.card').length === n", arg=n)
    page.wait_for_function("() => !document.querySelector('#status').textContent.includes('to go')")
    return page.locator(".card")


def drop(page, *files: Path) -> None:
    """Drop files on the page as one drags them there."""
    page.evaluate(
        """async (files) => {
            const data = new DataTransfer();
            for (const [name, bytes] of files)
                data.items.add(new File([new Uint8Array(bytes)], name));
            const target = document.querySelector('#drop');
            for (const kind of ['dragenter', 'dragover', 'drop'])
                target.dispatchEvent(new DragEvent(kind,
                    {bubbles: true, cancelable: true, dataTransfer: data}));
        }""",
        [[file.name, list(file.read_bytes())] for file in files],
    )


def test_a_dropped_photo_has_its_label_bars_and_picture(visit, server, amber):
    opened = visit(server.address)
    drop(opened.page, amber)
    card = cards(opened.page, 1).first
    assert card.locator(".label").inner_text() == "amber"
    assert card.locator(".path").inner_text() == "0000.png"
    shares = card.locator("progress").evaluate_all("all => all.map((one) => one.value)")
    assert len(shares) == 2
    assert shares[0] > shares[1]
    assert sum(shares) == pytest.approx(1, abs=1e-6)
    assert card.locator("img").evaluate("i => i.decode().then(() => i.naturalWidth)") == 40
    told = server.predict(("0000.png", amber.read_bytes())).json["predictions"][0]
    assert shares[0] == pytest.approx(told["probabilities"]["amber"], abs=1e-6)
    assert opened.errors == []


def test_several_and_a_broken_one_each_have_their_card(visit, server, photos, amber):
    page = visit(server.address).page
    page.locator("#files").set_input_files([amber, photos / "broken.jpg", photos / HOSTILE])
    found = {
        card.locator(".path").inner_text(): card.locator(".label").inner_text()
        for card in cards(page, 3).all()
    }
    assert found["0000.png"] == found[HOSTILE] == "amber"
    assert found["broken.jpg"].startswith("not an image")
    assert page.locator(".failed .gone").is_visible()
    assert page.locator("#status").inner_text() == "2 predicted, 1 failed"
    page.get_by_role("button", name="Clear").click()
    assert page.locator(".card").count() == 0


def test_what_is_like_nothing_it_learned_from_is_unknown(visit, server, tmp_path, picture):
    strange = tmp_path / "strange.png"
    strange.write_bytes(_stripes())
    page = visit(server.address).page
    page.locator("#camera").set_input_files(strange)
    card = cards(page, 1).first
    assert card.locator(".label").inner_text() == "unknown: like nothing it learned from"
    assert card.locator(".chosen").count() == 0


def _stripes() -> bytes:
    import io

    import numpy as np
    from PIL import Image

    pixels = np.zeros((64, 64, 3), np.uint8)
    pixels[:, ::16] = pixels[:16, :, 2] = 255
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


def test_a_pasted_photo_is_predicted(visit, server, amber):
    page = visit(server.address).page
    page.evaluate(
        """(bytes) => {
            const data = new DataTransfer();
            data.items.add(new File([new Uint8Array(bytes)], 'pasted.png', {type: 'image/png'}));
            document.dispatchEvent(new ClipboardEvent('paste', {clipboardData: data}));
        }""",
        list(amber.read_bytes()),
    )
    assert cards(page, 1).first.locator(".label").inner_text() == "amber"


def test_names_of_classes_and_files_are_shown_as_text(visit, server, photos):
    opened = visit(server.address)
    page = opened.page
    page.locator("#files").set_input_files(photos / HOSTILE)
    cards(page, 1)
    page.wait_for_function("() => document.querySelector('#run').textContent.includes('amber')")
    assert "<b>teal<|b>" in page.locator("#run").inner_text()
    assert page.locator("bdi *, .name *, h1 *").count() == 0
    assert opened.errors == []


def test_it_asks_for_nothing_elsewhere(visit, server, amber):
    opened = visit(server.address)
    opened.page.locator("#files").set_input_files(amber)
    cards(opened.page, 1)
    opened.page.get_by_role("link", name="For programs").click()
    assert opened.page.locator("h1").inner_text() == "For programs"
    own = (server.address, f"blob:{server.address}", "data:,")
    assert [url for url in opened.requests if not url.startswith(own)] == []
    assert opened.errors == []


def test_a_token_is_asked_for_and_kept_while_the_page_is_open(visit, begin, amber):
    page = visit(begin(token=SECRET).address).page
    page.get_by_label("This server asks for a token").fill("wrong-token")
    page.get_by_role("button", name="Unlock").click()
    page.get_by_text("That is not the token.").wait_for()
    page.get_by_label("This server asks for a token").fill(SECRET)
    page.keyboard.press("Enter")
    page.locator("#files").set_input_files(amber)
    assert cards(page, 1).first.locator(".label").inner_text() == "amber"
    page.reload()
    page.locator("#files").set_input_files(amber)
    assert cards(page, 1).first.locator(".label").inner_text() == "amber"
    assert SECRET not in page.url


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", SIZES)
def test_nothing_is_wider_than_the_window_and_axe_finds_nothing_serious(
    visit, server, photos, amber, axe, scheme, size, tmp_path
):
    page = visit(server.address, viewport=SIZES[size], color_scheme=scheme).page
    strange = tmp_path / "strange.png"
    strange.write_bytes(_stripes())
    files = [amber, photos / "broken.jpg", photos / HOSTILE, strange]
    page.locator("#files").set_input_files(files)
    cards(page, 4)
    for address in (None, f"{server.address}/docs"):
        if address:
            page.goto(address)
        assert page.evaluate("document.scrollingElement.scrollWidth - innerWidth") <= 0
        page.evaluate(axe)
        found = page.evaluate("axe.run(document, {resultTypes: ['violations']})")["violations"]
        assert [o["id"] for o in found if o["impact"] in ("serious", "critical")] == []


def test_the_keyboard_reaches_the_choice_of_photos(visit, server):
    page = visit(server.address).page
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.id") == "files"
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.id") == "camera"
