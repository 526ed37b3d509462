"""What becomes of images that cannot be read, and of the machine's own faults."""

from __future__ import annotations

import os

import numpy as np
import pytest

from tlx.cache.pictures import unmeasured
from tlx.embed import extract as extract_module
from tlx.embed import images
from tlx.errors import DataError, TlxError
from tlx.workspace import Workspace


def reasons(result) -> dict[str, str]:
    return {item["path"]: item["reason"] for item in result.unreadable}


# What cannot be read


def test_an_unreadable_image_is_recorded_and_not_fatal(embed, data):
    (data / "cats" / "fake.jpg").write_text("not a picture")
    (data / "cats" / "empty.png").touch()
    result = embed()
    assert result.embedded == 11
    found = reasons(result)
    assert found["cats/empty.png"] == "empty file"
    assert found["cats/fake.jpg"].startswith("not an image")
    assert result.classes == {"cats": 6, "dogs": 5}


def test_an_unreadable_image_is_not_tried_again(embed, data):
    bad = data / "cats" / "bad.png"
    bad.write_bytes(b"\x89PNG\r\n\x1a\n damaged")
    os.utime(bad, (1e9, 1e9))  # the time of a file written just now is not trusted yet
    first = reasons(embed())
    seen: list[int] = []
    second = embed(progress=lambda done, total: seen.append(total))
    assert reasons(second) == first
    assert not seen


def test_an_unreadable_image_is_tried_again_when_it_changed(embed, data, picture):
    bad = data / "cats" / "bad.png"
    bad.write_bytes(b"damaged")
    assert len(embed().unreadable) == 1
    bad.write_bytes(picture("mended"))
    result = embed()
    assert (result.embedded, result.unreadable) == (1, [])


def test_copies_of_a_bad_image_all_get_the_reason(embed, data):
    for number in range(30):
        (data / "cats" / f"bad-{number}.jpg").write_text("not a picture")
    result = embed()
    assert len(result.unreadable) == 30
    assert len(set(reasons(result).values())) == 1


def test_an_image_without_permission_is_tried_again(embed, data, tmp_path, deny):
    (tmp_path / "ws").mkdir()
    (tmp_path / "ws").chmod(0o777)
    deny(data / "cats" / "0000.png", 0)
    assert reasons(embed()) == {"cats/0000.png": "permission denied"}
    if os.getuid() == 0:
        os.seteuid(0)
    else:
        (data / "cats" / "0000.png").chmod(0o644)
    assert (embed().embedded, embed().unreadable) == (1, [])


def test_strict_raises_and_keeps_the_rest(embed, data):
    (data / "cats" / "bad.jpg").write_text("not a picture")
    with pytest.raises(DataError, match=r"1 of 12 images cannot be read; the first: cats/bad.jpg"):
        embed(strict=True)
    assert (embed().embedded, embed().reused) == (0, 11)


def test_nothing_readable_at_all(embed, tmp_path):
    folder = tmp_path / "bad" / "cats"
    folder.mkdir(parents=True)
    (folder / "a.jpg").write_text("not a picture")
    with pytest.raises(DataError, match=r"none of the 1 images can be read; .*not an image"):
        embed(tmp_path / "bad")


def test_a_file_that_vanishes_meanwhile(embed, data):
    def vanish(done: int, total: int) -> None:
        if done == 0:
            (data / "dogs" / "0004.png").unlink(missing_ok=True)

    result = embed(progress=vanish)
    assert reasons(result) == {"dogs/0004.png": "no such file or directory"}
    assert result.embedded == 10


def test_a_csv_row_without_its_file(embed, data, tmp_path):
    csv = data / "some.csv"
    csv.write_text("path,label\ncats/0000.png,a\ngone.png,a\n")
    assert reasons(embed(csv)) == {"gone.png": "no such file or directory"}


def test_a_file_that_changes_while_it_is_read_is_looked_at_again(
    embed, data, manifest, monkeypatch
):
    """What is stored is the feature of the bytes that were read; the next run sees the new ones."""
    target = str(data / "cats" / "0000.png")
    real, calls = os.fstat, []

    def fstat(descriptor):
        status = real(descriptor)
        if not calls and os.path.samestat(status, os.stat(target)):
            calls.append(descriptor)
            os.utime(target, ns=(0, 0))  # a writer comes between the two looks at the file
        return status

    monkeypatch.setattr(os, "fstat", fstat)
    assert embed().embedded == 11
    assert manifest().mtime_ns[0] == -1
    seen: list[int] = []
    assert embed(progress=lambda done, total: seen.append(total)).embedded == 0
    assert manifest().mtime_ns[0] == os.stat(target).st_mtime_ns


class Faulty:
    """An engine that gives the images of even rows no finite feature."""

    name = "faulty"
    note = ""
    output_shape = (4,)

    def __call__(self, batch):
        features = np.ones((len(batch), 4), np.float32)
        features[::2] = np.inf
        return features


def test_features_that_are_not_finite_are_recorded(embed):
    result = embed(engine=Faulty())
    assert (result.embedded, len(result.unreadable)) == (5, 6)
    assert set(reasons(result).values()) == {"its features are not finite in float32 and float32"}
    assert result.notes == []  # they were not decoded to be measured alone


def test_features_not_finite_in_one_spec_may_be_in_another(embed, grid):
    embed(engine=Faulty(), image_size=64)
    result = embed(engine=grid)
    assert (result.embedded, result.unreadable) == (11, [])


# The machine's own faults


class NoMemory:
    """An engine whose machine has no memory left."""

    name, note, output_shape = "none", "", (4,)

    def __call__(self, batch):
        raise MemoryError


def test_too_little_memory_for_the_network_is_told(embed):
    with pytest.raises(TlxError, match=r"not enough memory to run .* at 64 pixels"):
        embed(engine=NoMemory(), image_size=64)
    assert embed().unreadable == []


def test_a_fault_of_the_machine_is_not_remembered(embed, data, manifest, monkeypatch):
    """Decoding runs out of memory for every image of one size; other sizes know nothing of it."""
    embed()
    real = images.decode_images

    def decode(data, framings, measure):
        if framings[0].size == 64:
            raise MemoryError
        return real(data, framings)

    monkeypatch.setattr(extract_module, "decode_images", decode)
    with pytest.raises(DataError, match="not enough memory to decode it"):
        embed(image_size=64)
    monkeypatch.undo()
    assert manifest().usable.all()
    assert embed().unreadable == []
    assert embed(image_size=64).embedded == 11


def test_a_file_that_may_not_be_read_now_keeps_its_features(embed, data, manifest, tmp_path, deny):
    embed()
    (tmp_path / "ws").chmod(0o777)
    for path in (tmp_path / "ws").rglob("*"):
        path.chmod(0o777)
    deny(data / "cats" / "0000.png", 0)
    assert reasons(embed(image_size=64)) == {"cats/0000.png": "permission denied"}
    assert manifest().usable.all()


# What pictures look like


def test_pictures_are_measured_while_they_are_embedded(embed, data, manifest):
    result = embed()
    assert manifest().measured.all()
    assert result.notes == []


def test_pictures_embedded_before_are_measured_by_the_next_run(embed, manifest, forget, grid):
    embed()
    forget()
    seen = grid.seen
    result = embed()
    assert manifest().measured.all()
    assert (result.embedded, grid.seen) == (0, seen)
    (note,) = result.notes
    assert note.startswith("measured 11 pictures for tlx audit")
    assert embed().notes == []


def test_a_copy_is_measured_with_its_original(embed, data, manifest):
    (data / "dogs" / "again.png").write_bytes((data / "cats" / "0000.png").read_bytes())
    embed()
    assert manifest().measured.all()


def test_a_renamed_picture_is_not_measured_again(embed, data, manifest, monkeypatch):
    embed()
    monkeypatch.setattr(extract_module, "decode_images", None)
    (data / "cats" / "0000.png").rename(data / "cats" / "renamed.png")
    assert embed(rehash=True).notes == []
    assert manifest().measured.all()


def test_measuring_saves_as_it_goes_on(embed, manifest, forget):
    embed()
    forget()
    known = []
    embed(
        checkpoint_seconds=0.0, progress=lambda done, total: known.append(manifest().measured.sum())
    )
    assert known == list(range(12))


def test_what_an_interrupted_run_measured_is_kept(embed, manifest, forget):
    embed()
    forget()

    def stop(done, total):
        if done == 5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        embed(progress=stop)
    assert manifest().measured.sum() == 5
    assert embed().notes[0].startswith("measured 6 pictures")


@pytest.fixture
def forget(manifest, tmp_path):
    """Return a function that makes the manifest one of a tlx that measured nothing."""

    def run():
        known = manifest()
        known.pictures = unmeasured(len(known))
        known.save(Workspace(tmp_path / "ws").manifest_path(known.name))

    return run
