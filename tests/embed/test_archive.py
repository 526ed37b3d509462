"""Archives are folders whose names are names only, and bombs are refused unexploded."""

from __future__ import annotations

import gzip
import io
import os
import shutil
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import pytest

import tlx
from tlx.classify.predict import find_images
from tlx.embed import archive
from tlx.embed.archive import local_archive, open_archive, split_archive
from tlx.embed.dataset import scan
from tlx.embed.trouble import FetchError
from tlx.errors import DataError, ImageError
from tlx.workspace import Workspace

KINDS = {".zip": "zip", ".tar": "tar", ".tar.gz": "gztar"}


def packed(folder: Path, suffix: str) -> Path:
    shutil.make_archive(str(folder), KINDS[suffix], folder)
    return Path(f"{folder}{suffix}")


@pytest.mark.parametrize("suffix", KINDS)
def test_an_archive_is_embedded_as_its_folder_is(data, embed, suffix, tmp_path, make_grid):
    source = packed(data, suffix)
    result = embed(source)
    assert (result.dataset, result.embedded) == (f"data{suffix}", 11)
    tlx.embed_images(data, workspace=tmp_path / "local", engine=make_grid())
    ours, theirs = (
        tlx.load_features(workspace=place) for place in (tmp_path / "ws", tmp_path / "local")
    )
    assert np.array_equal(ours.X, theirs.X)
    assert ours.paths == theirs.paths
    again = embed(source)
    assert (again.embedded, again.reused) == (0, 11)


def test_what_changed_in_an_archive_is_embedded(data, embed, picture):
    embed(packed(data, ".zip"))
    (data / "cats/0000.png").write_bytes(picture("new"))
    assert embed(packed(data, ".zip")).embedded == 1


@pytest.mark.parametrize(
    "typed", ["{}", "zip://{}", "zip://::{}", "zip://::file://{}", "{}/", "zip://cats::{}"]
)
def test_how_an_archive_may_be_typed(data, typed):
    found = scan(typed.format(packed(data, ".zip")))
    inside = "cats" in typed
    assert len(found.manifest) == (6 if inside else 11)
    assert found.manifest.root == f"{data}.zip" + ("/cats" if inside else "")


def test_a_csv_file_lists_what_is_in_archives(data, embed, tmp_path, picture):
    source = packed(data, ".zip")
    (tmp_path / "here.csv").write_text(f"path\n{source.name}/cats/0000.png\n{source}/none.png\n")
    result = embed(tmp_path / "here.csv")
    assert (result.embedded, len(result.unreadable)) == (1, 1)
    with zipfile.ZipFile(source, "a") as file:
        file.writestr("labels.csv", "path,label\ncats/0000.png,a\ndogs/0000.png,b\n")
        file.writestr("bad.csv", "path\n../../etc/1.png\n")
    assert embed(f"{source}/labels.csv").classes == {"a": 1, "b": 1}
    with pytest.raises(DataError, match=r"bad.csv, line 2: .* leads out of the archive"):
        embed(f"{source}/bad.csv")


def test_predict_and_evaluate_find_images_in_archives(data, embed, tmp_path, grid):
    source = packed(data, ".tar")
    embed(source)
    run = tlx.fit_head("centroid", workspace=tmp_path / "ws")
    assert tlx.evaluate_run(run, source, workspace=Workspace(tmp_path / "ws"), engine=grid).n == 11
    assert find_images([source, f"{source}/cats/0001.png"])[10:] == [
        f"{source}/dogs/0004.png",
        f"{source}/cats/0001.png",
    ]


def test_a_folder_with_the_name_of_an_archive_is_a_folder(tmp_path, class_folders):
    folder = class_folders(tmp_path / "photos.zip", {"cats": 2})
    assert len(scan(folder).manifest) == 2
    assert local_archive(str(folder / "cats/0000.png")) is None


def test_where_a_path_leads_through_an_archive():
    assert [*split_archive("https://photos.zip/a.png")] == []
    assert [*split_archive("https://photos.zip/a.tgz/b.png")] == [
        ("https://photos.zip/a.tgz", "b.png")
    ]
    assert [*split_archive("a.zip.bak/b.zipper")] == []


# Hostile ones

NAMES = ["/etc/1.png", "../1.png", "a/../../1.png", "a\\1.png", "a//1.png", "https://h/1.png"]


def write_zip(path: Path, files: dict[str, bytes], **options) -> Path:
    with zipfile.ZipFile(path, "w", **options) as file:
        for name, data in files.items():
            file.writestr(name, data)
    return path


def write_tar(path: Path, files: dict[str, bytes], kind: str = "w") -> Path:
    with tarfile.open(path, kind) as file:
        for name, data in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            file.addfile(member, io.BytesIO(data))
    return path


@pytest.mark.parametrize("write", [write_zip, write_tar])
def test_names_that_lead_elsewhere_are_ignored_and_nothing_is_unpacked(tmp_path, write, picture):
    suffix = ".zip" if write is write_zip else ".tar"
    good = {"a/new\nline.png": picture(1), "./a/2.png": picture(2)}
    source = write(tmp_path / f"evil{suffix}", {**dict.fromkeys(NAMES, picture(3)), **good})
    before = sorted(os.listdir(tmp_path))
    found = scan(source)
    assert sorted(found.manifest.path) == ["a/2.png", "a/new\nline.png"]
    assert found.ignored == {"unsafe name": len(NAMES)}
    assert sorted(os.listdir(tmp_path)) == before


def test_links_in_a_tar_are_no_files(tmp_path, picture, embed):
    source = tmp_path / "links.tar"
    (tmp_path / "secret.png").write_bytes(picture("secret"))
    write_tar(source, {"a/1.png": picture(1)})
    with tarfile.open(source, "a") as file:
        for kind in (tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE, tarfile.CHRTYPE):
            link = tarfile.TarInfo(f"a/{kind.decode()}.png")
            link.type, link.linkname = kind, str(tmp_path / "secret.png")
            file.addfile(link)
    assert embed(source).images == 1


@pytest.mark.parametrize("suffix", [".zip", ".tar"])
def test_a_file_that_is_declared_too_large_is_not_read(
    tmp_path, suffix, picture, embed, monkeypatch
):
    write = write_zip if suffix == ".zip" else write_tar
    source = write(tmp_path / f"big{suffix}", {"a/1.png": picture(1), "a/2.png": bytes(9000)})
    monkeypatch.setattr(archive, "MAX_BYTES", 8000)
    assert [bad["path"] for bad in embed(source).unreadable] == ["a/2.png"]
    with open(source, "rb") as stream, pytest.raises(ImageError, match="file of 0 MiB, at most"):
        open_archive(stream, str(source)).read("a/2.png")


def test_a_zip_that_lies_of_sizes_is_damaged(tmp_path, embed, picture):
    source = write_zip(tmp_path / "lie.zip", {"a/1.png": picture(1), "a/2.png": bytes(10**6)})
    raw = bytearray(source.read_bytes())
    place = raw.rindex(b"PK\x01\x02")
    raw[place + 24 : place + 28] = (100).to_bytes(4, "little")  # its size
    source.write_bytes(raw)
    result = embed(source)
    assert (result.embedded, [bad["path"] for bad in result.unreadable]) == (1, ["a/2.png"])


def test_a_compressed_tar_that_explodes_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(archive, "MOST_TIMES", 2)
    source = tmp_path / "bomb.tar.gz"
    source.write_bytes(gzip.compress(bytes(5 * 2**20)))
    with pytest.raises(DataError, match="unpacks to more than 2 times its size"):
        scan(source)


def encrypted(path: Path, picture) -> Path:
    source = write_zip(path, {"a/1.png": picture(1), "a/2.png": picture(2)})
    raw = bytearray(source.read_bytes())
    raw[raw.index(b"PK\x01\x02") + 8] |= 1
    source.write_bytes(raw)
    return source


def test_an_encrypted_image_is_told(tmp_path, picture, embed):
    result = embed(encrypted(tmp_path / "locked.zip", picture))
    assert [bad["reason"] for bad in result.unreadable] == ["encrypted in its archive"]


@pytest.mark.parametrize("suffix", KINDS)
@pytest.mark.parametrize("damage", ["empty", "cut", "noise", "text"])
def test_a_damaged_archive_is_one_line(data, suffix, damage):
    source = packed(data, suffix)
    raw = source.read_bytes()
    noise = np.random.default_rng(0).bytes(len(raw))
    broken = {"empty": b"", "cut": raw[: len(raw) // 3 + 7], "noise": noise, "text": b"hello" * 99}
    source.write_bytes(broken[damage])
    with pytest.raises(DataError, match=r"cannot be read as an archive|no images in"):
        scan(source)


def test_a_damaged_image_in_an_archive_is_told(tmp_path, picture, embed):
    source = write_zip(tmp_path / "bad.zip", {"a/1.png": picture(1), "a/2.png": picture(2)})
    raw = bytearray(source.read_bytes())
    raw[raw.index(picture(2)[:60]) + 70] ^= 255
    source.write_bytes(raw)
    assert [bad["reason"] for bad in embed(source).unreadable] == ["damaged in its archive"]


def test_an_archive_may_not_be_read(data, deny):
    source = packed(data, ".zip")
    deny(source, 0)
    with pytest.raises(DataError, match=r"data.zip cannot be read: Permission denied"):
        scan(source)


class _Broken(io.BytesIO):
    broken = False

    def read(self, size=-1):
        if self.broken:
            raise FetchError("the connection broke", again=True)
        return super().read(size)


@pytest.mark.parametrize("suffix", [".zip", ".tar", ".tar.gz"])
def test_a_fault_of_the_network_is_no_damage(data, suffix):
    stream = _Broken(packed(data, suffix).read_bytes())
    stream.broken = True
    with pytest.raises(FetchError, match="the connection broke"):
        open_archive(stream, f"s3://bucket/data{suffix}")
