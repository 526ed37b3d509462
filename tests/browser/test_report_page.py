"""The report in a real browser: it shows, asks nobody, is usable by all, and closes the loop."""

from __future__ import annotations

import csv
import re

import numpy as np
import pytest

import tlx
from tlx.relabel import Change, relabel_images

SECTIONS = [
    "findings", "verdict", "heads", "confusion", "wrong", "suspects", "duplicates", "odd", "map",
    "classes", "reliability", "curve", "finetuning", "next", "provenance",
]  # fmt: skip
QUOTED = 'teal/"quoted" & <b>\'s.png'
SIZES = {"phone": {"width": 390, "height": 844}, "desktop": {"width": 1280, "height": 900}}


@pytest.fixture
def opened(visit, studio):
    """Return the report, opened at the size of a desk."""
    return visit(studio.page, viewport=SIZES["desktop"])


def open_all(page) -> None:
    """Open what can be opened: every finding, and the last cell of the confusion matrix."""
    page.evaluate("for (const d of document.querySelectorAll('details')) d.open = true")
    page.locator("button[data-cell]").last.click()


def use_everything(page) -> None:
    """Open, click, point at, tick and save all kinds of things that the page has."""
    open_all(page)
    for cell in page.locator("button[data-cell]").all():
        cell.click()
    for choice in page.locator("input[name=by]").all():
        choice.check()
    page.locator("#dots circle").first.hover(force=True)
    page.locator("#dots").press("ArrowRight")
    page.locator("input[data-action=keep]").first.check()
    with page.expect_download():
        page.locator("#save").click()
    page.locator("#clear").click()


def paths_in(part) -> list[str]:
    """Return the names of the photos in a part of the page, as they are read."""
    return part.locator(".path").evaluate_all("all => all.map((one) => one.textContent)")


# What it shows


def test_every_section_is_there_and_can_be_gone_to(opened):
    page = opened.page
    assert page.locator("main > section").evaluate_all("all => all.map((s) => s.id)") == SECTIONS
    for name in SECTIONS:
        assert page.locator(f"#{name} h2").inner_text().strip()
        assert page.locator(f'nav a[href="#{name}"]').count() == 1


def test_nothing_is_said_on_the_console_and_nobody_is_asked(opened):
    use_everything(opened.page)
    assert opened.errors == []
    schemes = {address.split(":")[0] for address in opened.requests}
    assert schemes <= {"file", "data", "blob"}
    assert len([address for address in opened.requests if address.startswith("file:")]) == 1


def test_all_photos_are_decoded(opened):
    open_all(opened.page)
    broken = opened.page.locator("img").evaluate_all(
        "all => Promise.all(all.map((i) => i.decode().then(() => 0, () => i.alt || '?')))"
    )
    assert set(broken) <= {0}


def test_a_cell_of_the_confusion_matrix_opens_the_photos_in_it(opened, studio):
    run = tlx.load_run("best", studio.folder / ".tlx")
    said = run.predictions()
    taken, sure = said.probabilities.argmax(axis=1), said.probabilities.max(axis=1)
    cells = opened.page.locator("button[data-cell]").all()
    assert sum(int(cell.inner_text()) for cell in cells) == len(said.path)
    for cell in cells:
        truth, guess = map(int, cell.get_attribute("data-cell").split("-"))
        inside = (said.label == truth) & (taken == guess)
        expected = [said.path[row] for row in np.argsort(sure, kind="stable") if inside[row]]
        cell.click()
        assert cell.get_attribute("aria-expanded") == "true"
        shown = paths_in(opened.page.locator("#cell-photos"))
        assert set(shown) == set(expected[:12] if truth == guess else expected)
    cell.click()
    assert paths_in(opened.page.locator("#cell-photos")) == []


def test_a_point_of_the_map_shows_its_photo(opened):
    page = opened.page
    dots = page.locator("#dots circle")
    assert dots.count() == 43
    dots.first.hover(force=True)
    (first,) = paths_in(page.locator("#spot"))
    page.locator("#dots").focus()
    found = {first}
    for key in ("ArrowRight", "ArrowDown", "ArrowLeft", "ArrowUp"):
        page.keyboard.press(key)
        found |= set(paths_in(page.locator("#spot")))
    assert len(found) > 1, "the arrow keys go to other photos"


# The loop


def saved(page, tmp_path):
    """Save the corrections as a person does; return the file."""
    with page.expect_download() as waiting:
        page.get_by_role("button", name="Save corrections.csv").click()
    download = waiting.value
    assert download.suggested_filename == "corrections.csv"
    download.save_as(tmp_path / "corrections.csv")
    return tmp_path / "corrections.csv"


def box(part, path, action):
    """Return the first box in a part of the page that gives the image at `path` the action."""
    photo = part.locator(".photo").filter(has=part.page.locator(".path", has_text=path))
    return photo.locator(f"input[data-action={action}]").first


def test_what_is_ticked_is_saved_and_tlx_relabel_takes_it(opened, studio, tmp_path):
    page = opened.page
    for cell in page.locator("button[data-cell^='1-']").all():  # amber, taken for another
        cell.click()
        if "amber/wrong, 3.png" in paths_in(page.locator("#cell-photos")):
            break
    box(page.locator("#cell-photos"), "amber/wrong, 3.png", "relabel").check()
    page.evaluate("for (const d of document.querySelectorAll('details')) d.open = true")
    box(page.locator("#findings"), "amber/both.png", "drop").check()
    box(page.locator("#wrong"), QUOTED, "keep").check()
    assert page.locator("#count").inner_text() == "3 corrections"
    file = saved(page, tmp_path)
    with open(file, newline="", encoding="utf-8") as stream:
        rows = {row["path"]: row for row in csv.DictReader(stream)}
    assert {path: (row["action"], row["label"], row["from"]) for path, row in rows.items()} == {
        "amber/wrong, 3.png": ("relabel", "teal", "amber"),
        "amber/both.png": ("drop", "", "amber"),
        QUOTED: ("keep", "", "teal"),
    }
    done = relabel_images(file, workspace=studio.folder / ".tlx")
    assert sorted(done.changed) == [
        Change("amber/both.png", "amber", None),
        Change("amber/wrong, 3.png", "amber", "teal"),
    ]
    assert done.kept == [QUOTED]


def test_every_image_can_be_ticked_and_saved_whatever_it_is_called(opened, studio, tmp_path):
    page = opened.page
    for dot in page.locator("#dots circle").all():
        dot.dispatch_event("pointerover")
        page.locator("#spot input[data-action=drop]").check()
    done = relabel_images(saved(page, tmp_path), workspace=studio.folder / ".tlx")
    assert len(done.changed) == 43


def test_an_image_has_one_decision_wherever_it_is_shown(opened):
    page = opened.page
    box(page.locator("#wrong"), "amber/wrong, 3.png", "drop").check()
    shown = page.locator(".photo").filter(has=page.locator(".path", has_text="amber/wrong, 3.png"))
    boxes = shown.locator("input[data-action=drop]")
    assert boxes.count() > 1
    assert boxes.evaluate_all("all => all.every((one) => one.checked)")
    box(page.locator("#wrong"), "amber/wrong, 3.png", "keep").check()
    assert not box(page.locator("#wrong"), "amber/wrong, 3.png", "drop").is_checked()
    assert page.locator("#count").inner_text() == "1 correction"


def test_ticks_are_there_after_the_page_was_opened_again_until_they_are_cleared(opened):
    page = opened.page
    box(page.locator("#wrong"), "amber/wrong, 3.png", "drop").check()
    page.reload()
    assert box(page.locator("#wrong"), "amber/wrong, 3.png", "drop").is_checked()
    page.get_by_role("button", name="Untick all").click()
    page.reload()
    assert page.locator("input[type=checkbox]:checked").count() == 0
    assert not page.locator("#corrections").is_visible()


# Names are hostile


def test_names_of_files_and_classes_are_shown_as_text(opened, hostile):
    page, (of_class, of_files) = opened.page, hostile
    asked = []
    page.on("dialog", lambda dialog: (asked.append(dialog.message), dialog.dismiss()))
    shown = set()
    for cell in page.locator("button[data-cell]").all():
        cell.click()
        shown |= set(paths_in(page.locator("#cell-photos")))
    for dot in page.locator("#dots circle").all():
        dot.dispatch_event("pointerover")
        shown |= set(paths_in(page.locator("#spot")))
    shown = {re.sub(r"^[^/]*/", "", path) for path in shown}
    assert set(of_files) <= shown
    assert of_class in page.locator("#classes th").all_inner_texts()
    assert page.locator("script").count() == 2, "the data and the page's own"
    assert page.locator("img[onerror], .path *, [src=x], bdi *").count() == 0
    assert (asked, opened.errors) == ([], [])


# Usable by all


@pytest.fixture(params=["light", "dark"])
def scheme(request) -> str:
    return request.param


@pytest.fixture(params=SIZES)
def size(request) -> dict:
    return SIZES[request.param]


def test_nothing_is_wider_than_the_window_and_axe_finds_nothing_serious(
    visit, studio, axe, scheme, size
):
    page = visit(studio.page, viewport=size, color_scheme=scheme).page
    open_all(page)
    page.locator("input[data-action=keep]").first.check()
    assert sideways(page) <= 0
    assert problems(page, axe) == []


def sideways(page) -> int:
    """Return by how many pixels the page can be moved sideways."""
    return page.evaluate("document.scrollingElement.scrollWidth - innerWidth")


def problems(page, axe: str) -> list[str]:
    """Return what axe-core calls serious or critical, with the first place of each."""
    page.evaluate(axe)  # not as an element: the page forbids scripts that are not its own
    found = page.evaluate("axe.run(document, {resultTypes: ['violations']})")
    return [
        f"{one['id']}: {one['help']}: {one['nodes'][0]['html'][:200]}"
        for one in found["violations"]
        if one["impact"] in ("serious", "critical")
    ]


def test_a_hundred_classes_and_no_photos_are_no_wider_than_the_window(visit, crowd, axe):
    opened = visit(crowd, viewport=SIZES["desktop"])
    open_all(opened.page)
    assert sideways(opened.page) <= 0
    opened.page.set_viewport_size(SIZES["phone"])
    assert sideways(opened.page) <= 0
    assert problems(opened.page, axe) == []
    assert opened.errors == []


def test_dark_is_dark_and_light_is_light(visit, studio):
    def brightness(scheme):
        page = visit(studio.page, color_scheme=scheme).page
        colour = page.evaluate("getComputedStyle(document.body).backgroundColor")
        return sum(map(int, re.findall(r"\d+", colour)[:3])) / 765

    assert brightness("light") > 0.8
    assert brightness("dark") < 0.2


def test_the_keyboard_reaches_the_findings_first_and_opens_a_cell(opened):
    page = opened.page
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.getAttribute('href')") == "#findings"
    cell = page.locator("button[data-cell]").first
    cell.focus()
    page.keyboard.press("Enter")
    assert paths_in(page.locator("#cell-photos"))


def test_without_its_script_the_page_still_tells_what_was_found(visit, studio):
    page = visit(studio.page, java_script_enabled=False).page
    assert page.locator("#findings .finding").count() > 0
    assert page.locator("#heads tbody tr").count() == 2
    assert "needs its own script" in page.locator("body").inner_text()


def test_on_paper_there_is_nothing_to_tick_and_all_photos(opened):
    page = opened.page
    page.emulate_media(media="print")
    assert not page.locator(".fix:visible, nav:visible, .bar:visible").count()
    assert page.locator("#wrong img:visible").count() == page.locator("#wrong img").count()
