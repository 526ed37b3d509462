"""An exported page in a real browser: it says what tlx says, asks nobody, and is usable by all."""

from __future__ import annotations

import contextlib
import functools
import io
import json
import re
import shutil
import threading
from collections.abc import Callable, Iterator
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from PIL import Image

import tlx
from tlx.deploy.formats import web

pytest.importorskip("tf2onnx")
pytestmark = [
    pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:In the future `np.object`:FutureWarning"),
]
HOSTILE_CLASS = "<img src=x onerror=alert(1)>"
HOSTILE_FILE = "<img src=x onerror=alert(2)> & \u202eאבג.png"
SIZES = {"phone": {"width": 390, "height": 844}, "desktop": {"width": 1280, "height": 900}}
CAMERA = ["--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream"]


class Site(NamedTuple):
    """An exported page that a plain file server has.

    Attributes
    ----------
    url : str
    folder : Path
    workspace : Path
        Of its run, which is the only one.
    """

    url: str
    folder: Path
    workspace: Path


class _Handler(SimpleHTTPRequestHandler):
    def log_message(self, *_: Any) -> None:
        """Say nothing."""

    def copyfile(self, *files: Any) -> None:
        """Let a browser hang up in the middle of a file, which it does where a hash differs."""
        with contextlib.suppress(ConnectionError):
            super().copyfile(*files)


@pytest.fixture(scope="session")
def serve() -> Iterator[Callable[[Path], str]]:
    """Return ``serve(folder)``, which gives the address of a file server for a folder."""
    running = []

    def start(folder: Path) -> str:
        handler = functools.partial(_Handler, directory=str(folder))
        server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        running.append(server)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        return f"http://127.0.0.1:{server.server_port}/"

    yield start
    for server in running:
        server.shutdown()
        server.server_close()


@pytest.fixture(scope="session")
def runtime() -> Path:
    """Return the unpacked package of the runtime."""
    folder = Path(tlx.__file__).parent / "build" / f"onnxruntime-web-{web.VERSION}"
    if not folder.is_dir():
        pytest.skip("onnxruntime-web is not in build/: make test-browser fetches it")
    return folder


@pytest.fixture(scope="session")
def site(browser, runtime, serve, camera_photo, tmp_path_factory) -> Site:
    """Return the page of a run on drawn photos of three classes, one of a hostile name."""
    folder = tmp_path_factory.mktemp("site")
    for label in ("amber", "teal", "x"):
        (folder / "data" / label).mkdir(parents=True)
        for number in range(12):
            photo = camera_photo(320, 240, label, number)
            (folder / "data" / label / f"{number}.jpg").write_bytes(photo)
    manifest = folder / "images.csv"
    names = {"x": HOSTILE_CLASS}
    rows = [
        f"data/{path.parent.name}/{path.name},{names.get(path.parent.name, path.parent.name)}"
        for path in sorted((folder / "data").rglob("*.jpg"))
    ]
    manifest.write_text("\n".join(["path,label", *rows, ""]), encoding="utf-8")
    tlx.embed_images(manifest, workspace=folder / ".tlx")
    tlx.fit_head("logreg", workspace=folder / ".tlx")
    tlx.export_run("best", "web", folder / "out", workspace=folder / ".tlx", runtime=runtime)
    return Site(serve(folder / "out"), folder / "out", folder / ".tlx")


class Opened(NamedTuple):
    """A page that was opened, the addresses that it asked for, and what it complained of."""

    page: Any
    requests: list[str]
    errors: list[str]


@pytest.fixture
def open_site(browser) -> Iterator[Callable[..., Opened]]:
    """Return ``open_site(url, **options)``, which opens an address and waits for the network.

    ``before(page)`` is called before, where one is given.
    """
    contexts = []

    def open_page(url: str, ready: bool = True, before: Any = None, **options: Any) -> Opened:
        context = browser.new_context(**options)
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(60_000)
        opened = Opened(page, [], [])
        page.on("request", lambda request: opened.requests.append(request.url))
        page.on("pageerror", lambda error: opened.errors.append(str(error)))
        loud = ("error", "warning")
        page.on("console", lambda m: opened.errors.append(m.text) if m.type in loud else None)
        if before is not None:
            before(page)
        page.goto(url)
        if ready:
            page.locator("#ask").wait_for()
        return opened

    yield open_page
    for context in contexts:
        context.close()


@pytest.fixture
def opened(open_site, site) -> Opened:
    return open_site(site.url, viewport=SIZES["desktop"])


@pytest.fixture
def files(tmp_path, camera_photo) -> list[Path]:
    """Return photos to classify, one of them under a hostile name, and one that is cut."""
    large, small = camera_photo(1000, 700, "teal", 90), camera_photo(300, 200, "amber", 91)
    shade = Image.linear_gradient("L").resize((300, 200))
    clear = Image.merge("RGBA", (*Image.open(io.BytesIO(small)).split(), shade))
    found = [tmp_path / name for name in ("large.jpg", "small.jpg", HOSTILE_FILE, "cut.jpg")]
    for path, data in zip(found, (large, small, b"", large[: len(large) // 2]), strict=True):
        path.write_bytes(data)
    clear.save(found[2])
    return found


def classified(page, files) -> list[dict[str, Any]]:
    """Choose files as a person does; return of each what the page says then."""
    page.locator("#files").set_input_files([str(file) for file in files])
    cards = page.locator("#list > li")
    said = []
    for card in cards.all()[: len(files)]:
        card.locator(".said h3, .said .problem").first.wait_for()
        probabilities = card.locator(".said").get_attribute("data-probabilities")
        said.append(
            {
                "name": card.locator(".name").text_content(),
                "text": card.locator(".said h3, .said .problem").first.text_content(),
                "probabilities": json.loads(probabilities) if probabilities else None,
            }
        )
    return said


# It says what tlx says


def test_several_files_are_answered_in_their_order_and_a_broken_one_is_told(opened, site, files):
    said = classified(opened.page, files)
    assert [one["name"] for one in said] == [file.name for file in files]
    rows = tlx.predict_images("best", files, workspace=site.workspace)
    for one, row in zip(said[:3], rows[:3], strict=True):
        assert one["text"] == row.label
        expected = list((row.probabilities or {}).values())
        np.testing.assert_allclose(one["probabilities"], expected, atol=0.02)
    assert rows[3].error == "truncated JPEG"
    assert said[3]["text"] == "The file is not complete."
    assert opened.errors == []


@pytest.mark.parametrize("content", [b"", b"no photo", b"\xff\xd8\xff" + bytes(range(256)) * 9])
def test_what_is_no_photo_is_told_and_the_next_is_answered(opened, files, tmp_path, content):
    bad = tmp_path / "bad.jpg"
    bad.write_bytes(content)
    said = classified(opened.page, [bad, files[1]])
    assert said[0]["text"] in (
        "This browser cannot read it as a photo.",
        "The file is not complete.",
    )
    assert said[1]["probabilities"]


def test_real_photos_get_the_labels_of_tlx(open_site, serve, runtime, shared_data, tmp_path):
    """On 64 photos of cats and dogs."""
    place, data = tmp_path / ".tlx", tmp_path / "data"
    for kind in ("cats", "dogs"):
        photos = sorted((shared_data / "cats-vs-dogs" / "validation" / kind).iterdir())
        (data / kind).mkdir(parents=True)
        for photo in photos[:: len(photos) // 32][:32]:
            shutil.copy(photo, data / kind)
    tlx.embed_images(data, workspace=place)
    tlx.fit_head("logreg", workspace=place)
    tlx.export_run("best", "web", tmp_path / "out", workspace=place, runtime=runtime)
    photos = sorted(data.rglob("*.jpg"))
    assert len(photos) == 64
    said = classified(open_site(serve(tmp_path / "out")).page, photos)
    rows = tlx.predict_images("best", photos, workspace=place)
    expected = np.array([list((row.probabilities or {}).values()) for row in rows])
    found = np.array([one["probabilities"] for one in said])
    assert [one["text"] for one in said] == [row.label for row in rows]
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5)


def test_a_dropped_file_is_answered(opened, files):
    page = opened.page
    data = page.evaluate_handle(
        """(bytes) => {
            const data = new DataTransfer();
            data.items.add(new File([new Uint8Array(bytes)], "dropped.jpg"));
            return data;
        }""",
        list(files[1].read_bytes()),
    )
    page.dispatch_event("body", "dragover", {"dataTransfer": data})
    assert page.locator("body.over").count() == 1
    page.dispatch_event("body", "drop", {"dataTransfer": data})
    assert page.locator("body.over").count() == 0
    page.locator("#list .said h3").wait_for()
    assert page.locator("#list .name").inner_text() == "dropped.jpg"


def test_in_doubt_it_says_unknown_and_takes_it_back(opened, files):
    page = opened.page
    page.evaluate("document.getElementById('error').append(new Option('all', '2'))")
    (said,) = classified(page, files[1:2])
    for value, title in (("2", "unknown"), ("", said["text"])):
        page.locator("#error").evaluate(
            "(e, value) => { e.value = value; e.dispatchEvent(new Event('change')); }", value
        )
        page.locator("#list .said h3", has_text=title).wait_for()


def test_clear_empties_the_list(opened, files):
    classified(opened.page, files[:2])
    opened.page.get_by_role("button", name="Clear").click()
    assert opened.page.locator("#list > li").count() == 0
    assert not opened.page.locator("#results").is_visible()


def test_the_camera_is_classified_and_a_picture_of_it_kept(browser, site):
    running = browser.browser_type.launch(
        executable_path=next(filter(None, map(shutil.which, ("chromium", "google-chrome")))),
        args=["--no-sandbox", "--disable-gpu", "--disable-background-networking", *CAMERA],
    )
    try:
        page = running.new_page()
        page.goto(site.url)
        page.get_by_role("button", name="Use the camera").click(timeout=60_000)
        page.locator("#live h3").wait_for()
        page.get_by_role("button", name="Keep this picture").click()
        page.locator("#list .said h3").wait_for()
        assert page.locator("#list .name").inner_text().startswith("Camera, ")
        page.get_by_role("button", name="Stop the camera").click()
        assert not page.locator("#camera").is_visible()
        assert page.evaluate("document.getElementById('video').srcObject.active") is False
    finally:
        running.close()


SLOW_PERMISSION = """
window.asked = 0;
navigator.mediaDevices.getUserMedia = () => {
  window.asked += 1;
  return new Promise((resolve) => (window.allow = () => resolve(new MediaStream())));
};
"""


def test_a_second_click_while_permission_is_asked_for_opens_no_second_camera(open_site, site):
    page = open_site(site.url, before=lambda page: page.add_init_script(SLOW_PERMISSION)).page
    for _ in range(2):
        page.get_by_role("button", name="Use the camera").click()
    assert page.evaluate("window.asked") == 1
    page.evaluate("window.allow()")
    page.get_by_role("button", name="Stop the camera").click()
    page.get_by_role("button", name="Use the camera").click()
    assert page.evaluate("window.asked") == 2


# It asks nobody, and runs nothing else


def test_only_its_own_server_is_asked_and_each_file_once(opened, site, files):
    classified(opened.page, files)
    assert opened.errors == []
    asked = [url for url in opened.requests if not url.startswith("blob:")]
    assert all(url.startswith((site.url, "data:")) for url in asked)
    assert len(asked) == len(set(asked))
    names = {path.name for path in site.folder.iterdir()} - {"index.html"}
    assert {url.removeprefix(site.url) for url in asked} - {"", "data:,"} == names


def test_photos_are_sent_nowhere(open_site, site, files):
    opened = open_site(site.url)
    sent = []
    opened.page.on("request", lambda request: sent.append(request.url))
    classified(opened.page, files)
    assert sent == []


def test_names_of_classes_and_files_are_text(opened, files):
    page, asked = opened.page, []
    page.on("dialog", lambda dialog: (asked.append(dialog.message), dialog.dismiss()))
    said = classified(page, files)
    assert said[2]["name"] == HOSTILE_FILE
    assert HOSTILE_CLASS in page.locator("#list bdi").all_inner_texts()
    assert page.locator("img, [onerror]").count() == 0
    assert (asked, opened.errors) == ([], [])


@pytest.mark.parametrize("name", ["network.onnx", web.RUNTIME["script"][0]])
def test_a_file_that_was_changed_is_not_run(open_site, serve, site, tmp_path, name):
    folder = shutil.copytree(site.folder, tmp_path / "changed")
    with open(folder / name, "ab") as file:
        file.write(b"\n")
    page = open_site(serve(folder), ready=False).page
    page.locator("#status.problem").wait_for()
    told = page.locator("#status").inner_text()
    assert told.startswith("The network cannot be loaded")
    assert f"{name} cannot be reached, or is not the file that was exported" in told
    assert not page.locator("#ask").is_visible()


def test_without_a_copy_the_runtime_comes_from_the_server_named_and_is_compared(
    open_site, serve, site, runtime, files, tmp_path
):
    """The server is played here."""
    tlx.export_run("best", "web", tmp_path / "out", workspace=site.workspace)
    url, added = serve(tmp_path / "out"), [b""]

    def answer(route):
        name = route.request.url.rpartition("/")[2]
        content = (runtime / "dist" / name).read_bytes() + added[0]
        headers = {"Access-Control-Allow-Origin": "*"}
        route.fulfill(body=content, headers=headers, content_type="text/javascript")

    def play(page):
        page.route(f"{web.SERVER}/**", answer)

    opened = open_site(url, before=play)
    assert classified(opened.page, files[:1])[0]["probabilities"]
    others = {address for address in opened.requests if not address.startswith((url, "blob:"))}
    names = {name for name, _, _ in web.RUNTIME.values()}
    assert {address.rpartition("/")[2] for address in others - {"data:,"}} == names
    added[0] = b"\n"
    page = open_site(url, ready=False, before=play).page
    page.locator("#status.problem").wait_for()
    assert "is not the file that was exported" in page.locator("#status").inner_text()


def test_opened_as_a_file_it_says_how_to_open_it(open_site, site):
    page = open_site((site.folder / "index.html").as_uri(), ready=False).page
    assert "python -m http.server" in page.locator("#status").inner_text()


# Usable by all


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", SIZES.values(), ids=SIZES)
def test_nothing_is_wider_than_the_window_and_axe_finds_nothing(
    open_site, site, files, axe, size, scheme
):
    page = open_site(site.url, viewport=size, color_scheme=scheme).page
    classified(page, files)
    assert page.evaluate("document.scrollingElement.scrollWidth - innerWidth") <= 0
    page.evaluate(axe)
    found = page.evaluate("axe.run(document, {resultTypes: ['violations']})")["violations"]
    assert [(one["id"], one["nodes"][0]["html"][:200]) for one in found] == []
    colour = page.evaluate("getComputedStyle(document.body).backgroundColor")
    brightness = sum(map(int, re.findall(r"\d+", colour)[:3])) / 765
    assert brightness > 0.8 if scheme == "light" else brightness < 0.2


def test_the_keyboard_reaches_the_buttons_first(opened):
    opened.page.keyboard.press("Tab")
    assert opened.page.evaluate("document.activeElement.id") == "choose"
    opened.page.keyboard.press("Tab")
    assert opened.page.evaluate("document.activeElement.id") == "film"
