"""A report of hostile photos in a real browser, which is Chromium through Playwright.

What is missing is a reason to skip; `make test-browser` installs it.
"""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest

import tlx
from tlx.cache.manifest import Manifest
from tlx.cache.spec import FeatureSpec
from tlx.cache.store import FeatureStore
from tlx.workspace import Workspace

HERE = Path(__file__).parent
HOSTILE_CLASS = "<script>alert(1)<script>"
HOSTILE_FILES = (
    '"quoted" & <b>\'s.png',
    "<img src=x onerror=alert(1)>.png",
    "\u202eאבג.png",
    "n" * 200 + ".png",
    "comma, line\nend.png",
)
BROWSERS = ("chromium", "google-chrome")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark every test of this folder."""
    for item in items:
        if HERE in item.path.parents:
            item.add_marker(pytest.mark.browser)


class Studio(NamedTuple):
    """A project with a report.

    Attributes
    ----------
    folder : Path
        With ``data/`` and ``.tlx/``.
    page : Path
        Its report.
    """

    folder: Path
    page: Path


@pytest.fixture(scope="session")
def browser() -> Iterator[Any]:
    """Return Chromium, without a window."""
    api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    path = next(filter(None, map(shutil.which, BROWSERS)), None)
    if path is None:
        pytest.skip(f"none of {', '.join(BROWSERS)} is installed")
    arguments = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
    with api.sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=path, args=arguments)
        yield running
        running.close()


@pytest.fixture(scope="session")
def studio(browser, tmp_path_factory, class_folders, make_grid) -> Studio:
    """Return a project of 3 x 14 images of hostile names, some under a wrong class, and its report.

    It comes after `browser`, so that nothing is made where there is none.
    """
    folder = tmp_path_factory.mktemp("studio")
    data = class_folders(folder / "data", {"amber": 14, "teal": 14, "x": 14})
    files = sorted((data / "x").iterdir())
    for file, name in zip(files, HOSTILE_FILES, strict=False):
        file.rename(file.with_name(name))
    for number in (3, 7):
        shutil.move(data / "teal" / f"{number:04}.png", data / "amber" / f"wrong, {number}.png")
    shutil.move(data / "x" / HOSTILE_FILES[0], data / "teal" / HOSTILE_FILES[0])
    shutil.copy(data / "teal" / "0005.png", data / "amber" / "both.png")
    (data / "x").rename(data / HOSTILE_CLASS)
    tlx.embed_images(data, workspace=folder / ".tlx", engine=make_grid())
    tlx.fit_heads(["logreg", "lda"], workspace=folder / ".tlx")
    report = tlx.write_report(output=folder / "report.html", workspace=folder / ".tlx")
    return Studio(folder, report.path)


@pytest.fixture(scope="session")
def hostile() -> tuple[str, tuple[str, ...]]:
    """Return the name of a class and those of files that are to be shown as they are."""
    return HOSTILE_CLASS, HOSTILE_FILES


@pytest.fixture(scope="session")
def crowd(browser, tmp_path_factory) -> Path:
    """Return the report of 500 drawn embeddings of 100 classes, whose photos are gone."""
    folder = tmp_path_factory.mktemp("crowd")
    place, n = Workspace(folder / ".tlx"), 500
    y = np.arange(n) % 100
    rng = np.random.default_rng(0)
    X = (rng.normal(size=(100, 16))[y] + rng.normal(0, 0.7, (n, 16))).astype(np.float32)
    spec = FeatureSpec("drawn", "random:0", "none", 8)
    digests = [hashlib.sha256(b"%d" % i).digest() for i in range(n)]
    with FeatureStore(place.cache, spec.json).writer() as writer:
        for digest, feature in zip(digests, X, strict=True):
            writer.add(digest, feature)
    names = [f"a class with a rather long name, number {c}" for c in range(100)]
    ones = np.ones(n, np.int64)
    paths = [f"{names[c]}/{i}.png" for i, c in enumerate(y)]
    manifest = Manifest(
        "crowd", "/nowhere/crowd", tuple(sorted(names)), paths,
        ones, ones, y.astype(np.int32), [""] * n, [""] * n,
    )  # fmt: skip
    manifest.digest[:] = np.frombuffer(b"".join(digests), np.uint8).reshape(n, 32)
    manifest.record_source(spec.fingerprint, spec.json, "none")
    manifest.save(place.manifest_path("crowd"))
    tlx.fit_head("centroid", workspace=place)
    return tlx.write_report(output=folder / "report.html", workspace=place).path


class Opened(NamedTuple):
    """A page that was opened, and what it did.

    Attributes
    ----------
    page : playwright.sync_api.Page
    requests : list of str
        Addresses that it asked for.
    errors : list of str
        What it said on the console as an error or warning, and what it raised.
    """

    page: Any
    requests: list[str]
    errors: list[str]


@pytest.fixture
def visit(browser) -> Iterator[Callable[..., Opened]]:
    """Return ``visit(place, **options)``, which opens a page in a browser of its own memory.

    The place is the path of a file, or the address of a server.
    """
    contexts = []

    def open_page(place: Path | str, **options: Any) -> Opened:
        context = browser.new_context(**{"accept_downloads": True, **options})
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(20_000)
        found = Opened(page, [], [])
        page.on("request", lambda request: found.requests.append(request.url))
        page.on("pageerror", lambda error: found.errors.append(str(error)))
        page.on(
            "console",
            lambda said: found.errors.append(said.text) if said.type in _LOUD else None,
        )
        page.goto(place if isinstance(place, str) else place.absolute().as_uri())
        return found

    yield open_page
    for context in contexts:
        context.close()


_LOUD = ("error", "warning")


@pytest.fixture(scope="session")
def axe() -> str:
    """Return the script of axe-core, which finds what keeps people from using a page."""
    files = sorted(Path(tlx.__file__).parent.glob("build/axe-*/axe.min.js"))
    if not files:
        pytest.skip("axe-core is not in build/: make test-browser fetches it")
    return files[-1].read_text(encoding="utf-8")
