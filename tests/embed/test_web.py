"""Images on the web: CSV files of URLs, and servers that say little or the wrong thing."""

from __future__ import annotations

import errno
import threading
from pathlib import Path

import pytest
from store_helpers import web_folder

import tlx
from tlx.embed import remote, web
from tlx.embed.dataset import scan
from tlx.embed.trouble import FetchError
from tlx.errors import DataError, StorageError


@pytest.fixture(autouse=True)
def _few_attempts(monkeypatch):
    monkeypatch.setattr(remote, "RETRY_SECONDS", 0.0)
    monkeypatch.setenv("no_proxy", "127.0.0.1")


@pytest.fixture
def site(data):
    with web_folder(data) as served:
        yield served


def csv_file(path: Path, rows: list[str]) -> Path:
    path.write_text("\n".join(["path,label", *rows]))
    return path


def gets(served) -> list[str]:
    return sorted(path for method, path in served.asked if method == "GET" and ".png" in path)


def test_a_csv_file_on_the_web_is_embedded_and_fetched_once(site, data, embed, manifest):
    csv_file(data / "labels.csv", ["cats/0000.png,cats", f"{site.url}/dogs/0001.png,dogs"])
    result = embed(f"{site.url}/labels.csv")
    assert (result.dataset, result.embedded) == ("labels.csv", 2)
    assert manifest().path == ["cats/0000.png", "dogs/0001.png"]
    assert gets(site) == ["/cats/0000.png", "/dogs/0001.png"]
    site.asked.clear()
    assert embed(f"{site.url}/labels.csv").embedded == 0
    assert gets(site) == []


def test_a_csv_file_here_lists_what_is_on_the_web(site, tmp_path, embed, data):
    rows = [f"{site.url}/cats/0000.png?X-Amz-Signature=hunter2,a", f"{data}/cats/0001.png,a"]
    source = csv_file(tmp_path / "labels.csv", [*rows, f"{site.url}/gone.png,b"])
    result = embed(source)
    assert result.embedded == 2
    assert [bad["reason"] for bad in result.unreadable] == ["there is no such object"]
    assert "hunter2" not in repr(result.unreadable) + repr(result)
    assert any("hunter2" in path for _, path in site.asked)
    kept = [p.read_bytes() for p in (tmp_path / "ws").rglob("*") if p.is_file()]
    assert kept
    assert not any(b"hunter2" in one for one in kept)


def test_a_server_without_etags_is_asked_again(data, embed, tmp_path):
    with web_folder(data, etags=False) as served:
        source = csv_file(tmp_path / "labels.csv", [f"{served.url}/cats/0000.png,a"])
        embed(source)
        served.asked.clear()
        assert embed(source).embedded == 0
        assert gets(served) == ["/cats/0000.png"]


def test_a_signature_that_allows_get_alone_is_enough(data):
    with web_folder(data, heads=False) as served:
        size, stamp = web.stat(f"{served.url}/cats/0000.png")
        assert size == (data / "cats/0000.png").stat().st_size
        assert stamp > 0


def test_names_are_quoted(site, data, picture):
    (data / "new\nline ü?.png").write_bytes(picture(1))
    assert web.read(f"{site.url}/new\nline ü%3F.png", 10**6, threading.Lock()) == picture(1)


@pytest.mark.parametrize(
    ("path", "why"),
    [
        ("none.png", "there is no such object"),
        ("to/file:///etc/passwd", "redirected to what is not the web"),
        ("to/ftp://127.0.0.1/x", "redirected to what is not the web"),
    ],
)
def test_what_cannot_be_had(site, path, why):
    with pytest.raises(FetchError, match=why):
        web.read(f"{site.url}/{path}", 10**6, threading.Lock())


def test_a_redirect_within_the_web_is_followed(site, data):
    url = f"{site.url}/to/{site.url}/cats/0000.png"
    assert web.read(url, 10**6, threading.Lock()) == (data / "cats/0000.png").read_bytes()
    assert web.stat(url) == web.stat(f"{site.url}/cats/0000.png")


def test_no_server_and_no_name():
    for url in ("http://127.0.0.1:9/a.png", "http://no-such-host.invalid/a.png"):
        with pytest.raises(FetchError, match="the server cannot be reached") as caught:
            web.read(url, 10, threading.Lock())
        assert caught.value.again
    with pytest.raises(FetchError, match="not a URL"):
        web.read("http://127.0.0.1:port/a.png", 10, threading.Lock())


def test_an_end_that_is_missing_is_tried_again(s3, picture):
    s3("web-truncated", {"1.png": picture(1)})
    s3.client.put_object_acl(Bucket="web-truncated", Key="1.png", ACL="public-read")
    s3.proxy.plan = lambda method, path, n: "truncated"
    with pytest.raises(FetchError) as caught:
        web.read(f"{s3.proxy.url}/web-truncated/1.png", 10**6, threading.Lock())
    assert caught.value.again


def test_the_web_has_no_folders(site):
    with pytest.raises(DataError, match="a web server lists no folders") as caught:
        scan(f"{site.url}/photos")
    assert "labels.csv" in caught.value.remedy


def test_an_archive_on_the_web(site, data, embed):
    import shutil

    shutil.make_archive(str(data / "all"), "zip", data)
    result = embed(f"{site.url}/all.zip")
    assert (result.dataset, result.classes) == ("all.zip", {"cats": 6, "dogs": 5})
    site.asked.clear()
    assert tlx.embed_images(f"{site.url}/all.zip/cats", workspace=data / "ws").images == 6


@pytest.mark.parametrize(("suffix", "etags"), [("zip", True), ("tar", True), ("tar", False)])
def test_what_changed_in_an_archive_on_the_web_is_embedded(
    data, embed, suffix, etags, picture, tmp_path
):
    import shutil

    (served_from := tmp_path / "served").mkdir()
    size = max(len(path.read_bytes()) for path in data.rglob("*.png")) + 500
    for path in data.rglob("*.png"):  # of one size, as raw formats are
        path.write_bytes(path.read_bytes().ljust(size, b"\0"))
    with web_folder(served_from, etags=etags) as served:
        shutil.make_archive(str(served_from / "all"), suffix, data)
        embed(f"{served.url}/all.{suffix}")
        (data / "cats/0000.png").write_bytes(picture("new").ljust(size, b"\0"))
        shutil.make_archive(str(served_from / "all"), suffix, data)
        assert embed(f"{served.url}/all.{suffix}").embedded == 1


def test_a_full_disk_is_no_fault_of_the_network(site, data, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    (data / "all.zip").write_bytes(b"1")
    monkeypatch.setattr("shutil.copyfileobj", full)
    with pytest.raises(StorageError, match="no room for http"):
        web.open_whole(f"{site.url}/all.zip")


def test_a_server_that_is_gone_is_not_asked_for_every_image(monkeypatch):
    asked = []

    def stat(file):
        asked.append(file)
        raise FetchError("the server cannot be reached", again=True)

    monkeypatch.setattr(remote, "stat", stat)
    with pytest.raises(DataError, match="cannot be reached"):
        remote.stat_all([f"https://host/{k}.png" for k in range(5000)])
    assert len(asked) < 1000


def test_what_is_large_is_fetched_one_at_a_time(site, data, monkeypatch):
    monkeypatch.setattr(web, "FIRST", 1000)
    (data / "large.bin").write_bytes(bytes(2500))
    large = threading.Lock()
    assert len(web.read(f"{site.url}/large.bin", 1000, large)) == 1000
    with large:
        thread = threading.Thread(target=web.read, args=(f"{site.url}/large.bin", 5000, large))
        thread.start()
        thread.join(0.2)
        assert thread.is_alive()
    thread.join(5)
    assert not thread.is_alive()
