"""A page's folder is whole: its files, the network, and the hash of all that it loads."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser

import pytest

import tlx
from tlx.deploy.formats import web
from tlx.deploy.formats.format import Order
from tlx.errors import DataError

pytest.importorskip("tf2onnx")
pytestmark = [
    pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:In the future `np.object`:FutureWarning"),
]


@pytest.fixture(scope="module")
def page(make_run, leaving, tmp_path_factory):
    """Return the folder of a page that takes its runtime from elsewhere."""
    folder = tmp_path_factory.mktemp("page") / "out"
    tlx.export_run(make_run("logreg"), "web", folder, workspace=leaving)
    return folder


@pytest.fixture
def package(tmp_path, monkeypatch):
    """Return an unpacked package of a runtime, which is the one that is pinned."""
    pinned = {}
    for kind, (name, _, _) in web.RUNTIME.items():
        path = tmp_path / "package" / "dist" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"a {kind}")
        pinned[kind] = (name, path.stat().st_size, web.integrity(path))
    monkeypatch.setattr(web, "RUNTIME", pinned)
    return tmp_path / "package"


def policy_of(folder) -> str:
    text = (folder / "index.html").read_text(encoding="utf-8")
    (found,) = re.findall(r'http-equiv="Content-Security-Policy" content="([^"]+)"', text)
    return found


def test_the_folder_holds_the_page_the_network_and_what_is_known_of_it(page):
    known = {"network.onnx", "predictor.json", web.PARTS, *web.PAGE}
    assert {path.name for path in page.iterdir()} == known
    predictor = json.loads((page / "predictor.json").read_text())
    assert (predictor["format"], predictor["file"]) == ("web", "network.onnx")
    assert set(predictor["files"]) == known - {"predictor.json"}


def test_without_a_runtime_one_release_is_named_by_its_hash(page):
    parts = json.loads((page / web.PARTS).read_text())
    assert parts["network"]["url"] == "network.onnx"
    assert parts["network"]["integrity"] == web.integrity(page / "network.onnx")
    for kind, (name, size, expected) in web.RUNTIME.items():
        assert parts[kind]["url"].endswith(f"/onnxruntime-web@{web.VERSION}/dist/{name}")
        assert (parts[kind]["bytes"], parts[kind]["integrity"]) == (size, expected)
    assert f"connect-src 'self' {web.SERVER};" in policy_of(page)


def test_a_runtime_is_copied_and_nothing_else_is_asked(make_run, package, tmp_path):
    network = make_run("logreg").as_keras()
    folder = tmp_path / "out"
    folder.mkdir()
    note = {"class_names": ["ant", "bee", "cat"]}
    for place in (package, package.parent, package / "dist"):
        web.FORMAT.write(network, folder / "network.onnx", Order(note, runtime=place))
    parts = json.loads((folder / web.PARTS).read_text())
    for kind in ("network", *web.RUNTIME):
        assert parts[kind]["integrity"] == web.integrity(folder / parts[kind]["url"])
    assert parts["bytes"] == sum(parts[kind]["bytes"] for kind in ("network", *web.RUNTIME))
    assert "connect-src 'self';" in policy_of(folder)
    assert "http" not in policy_of(folder)


@pytest.mark.parametrize("damage", ["another release", "not there"])
def test_another_runtime_is_refused_before_any_work(package, damage):
    path = package / "dist" / web.RUNTIME["wasm"][0]
    path.unlink() if damage == "not there" else path.write_text(damage)
    with pytest.raises(DataError, match=f"is not onnxruntime-web {web.VERSION}") as raised:
        tlx.export_run("no run", "web", runtime=package)
    assert f"npm pack onnxruntime-web@{web.VERSION}" in raised.value.remedy


def test_only_its_own_files_are_named_in_the_page(page):
    class Links(HTMLParser):
        found: list[str] = []  # noqa: RUF012

        def handle_starttag(self, tag, attrs):
            self.found += [value for name, value in attrs if name in ("src", "href")]

    Links().feed((page / "index.html").read_text(encoding="utf-8"))
    assert sorted(Links.found) == ["data:,", "page.css", "page.js", "resample.js"]
