"""The manifest: what is remembered of a data set, and what of it may be believed again."""

import copy
import dataclasses
import os

import h5py
import numpy as np
import pytest
from cache_helpers import OTHER_SPEC, SPEC, digests, manifest_of

from tlx.cache.hdf5 import NewerFormatError
from tlx.cache.identity import fingerprint_of
from tlx.cache.manifest import Manifest
from tlx.errors import FormatError


def round_trip(manifest, folder):
    manifest.save(folder / "data.h5")
    return Manifest.load(folder / "data.h5")


def same(one, two):
    for field in dataclasses.fields(Manifest):
        a, b = getattr(one, field.name), getattr(two, field.name)
        if field.name == "pictures":  # NaN where they are not measured
            a, b = a.tobytes(), b.tobytes()
        if not (np.array_equal(a, b) if isinstance(a, np.ndarray) else a == b):
            return False
    return True


def look(manifest, *rows):
    """Say of some images that they were measured."""
    for row in rows:
        manifest.pictures["brightness"][row] = (row + 1) / 8
        manifest.pictures["camera"][row] = b"Pixel 8"
        manifest.pictures["thumb"][row] = row + 1


def scanned_again(manifest):
    """The same files as a new scan sees them: not read yet."""
    return dataclasses.replace(
        copy.deepcopy(manifest), digest=np.zeros((0, 32), np.uint8), error=[], sources=[]
    )


def test_everything_comes_back(tmp_path):
    manifest = manifest_of(range(5))
    manifest.error[2] = "not an image"
    manifest.split[1], manifest.group[3] = "test", "patient 7"
    manifest.width[:], manifest.height[:] = 640, 480
    manifest.decoder = 3
    look(manifest, 3)
    manifest.validation_fraction, manifest.split_seed = 0.25, 7
    manifest.record_source(fingerprint_of(SPEC), SPEC, "imagenet")
    assert same(round_trip(manifest, tmp_path), manifest)


def test_a_fraction_that_is_not_known_comes_back(tmp_path):
    manifest = dataclasses.replace(manifest_of(range(5)), validation_fraction=None)
    assert round_trip(manifest, tmp_path).validation_fraction is None


@pytest.mark.parametrize("fraction", [-0.5, 1.0, float("nan")])
def test_a_fraction_that_cannot_be_is_refused(tmp_path, fraction):
    manifest = dataclasses.replace(manifest_of(range(5)), validation_fraction=fraction)
    with pytest.raises(FormatError, match="validation fraction"):
        round_trip(manifest, tmp_path)


def test_no_images_come_back(tmp_path):
    manifest = dataclasses.replace(manifest_of([]), class_names=())
    assert same(round_trip(manifest, tmp_path), manifest)


@pytest.mark.parametrize(
    "path", ["größe/猫.jpg", os.fsdecode(b"caf\xe9/\xff.jpg"), "a b/'\"\\\n.jpg", "x" * 4000]
)
def test_names_of_any_kind_come_back(tmp_path, path):
    manifest = manifest_of(range(2), root=os.fsdecode(b"/data/\xfe"))
    manifest.path[1] = path
    manifest.class_names = ("cat", os.fsdecode(b"\xe9"))
    assert same(round_trip(manifest, tmp_path), manifest)


def test_sources_may_be_longer_than_an_attribute(tmp_path):
    manifest = manifest_of(range(2))
    for number in range(300):
        spec = SPEC.replace("test", "t" * 400 + str(number))
        manifest.record_source(fingerprint_of(spec), spec, "imagenet")
    assert len(round_trip(manifest, tmp_path).sources) == 300


def test_the_source_embedded_again_is_the_latest():
    manifest = manifest_of([])
    for spec in (SPEC, OTHER_SPEC, SPEC):
        manifest.record_source(fingerprint_of(spec), spec, "imagenet")
    assert [s["spec"] for s in manifest.sources] == [OTHER_SPEC, SPEC]


def test_plain_h5py_reads_the_columns(tmp_path):
    manifest_of(range(3)).save(tmp_path / "data.h5")
    with h5py.File(tmp_path / "data.h5") as file:
        assert file["path"].asstr()[:].tolist() == ["0.jpg", "1.jpg", "2.jpg"]
        assert file["class_names"].asstr()[1] == "dog"


def test_a_missing_manifest_is_not_found(tmp_path):
    with pytest.raises(FileNotFoundError):
        Manifest.load(tmp_path / "none.h5")


@pytest.mark.parametrize("content", [b"", b"text", bytes(10_000)])
def test_a_foreign_file_is_refused_with_what_to_do(tmp_path, content):
    (tmp_path / "data.h5").write_bytes(content)
    with pytest.raises(FormatError, match=r"(?s)damaged or foreign.*Move the file away"):
        Manifest.load(tmp_path / "data.h5")


def test_every_flipped_byte_is_noticed(tmp_path):
    manifest = manifest_of(range(5))
    path = tmp_path / "data.h5"
    manifest.save(path)
    data = path.read_bytes()
    for place in np.random.default_rng(0).integers(0, len(data), 200):
        flipped = bytearray(data)
        flipped[place] ^= 0x55
        path.write_bytes(flipped)
        with pytest.raises(FormatError):
            Manifest.load(path)


def test_a_manifest_of_a_newer_tlx_is_told_apart(tmp_path):
    path = tmp_path / "data.h5"
    manifest_of(range(5)).save(path)
    path.write_bytes(path.read_bytes().replace(b"tlx-manifest 3", b"tlx-manifest 4", 1))
    with pytest.raises(NewerFormatError, match=r"(?s)format 4.*pip install --upgrade"):
        Manifest.load(path)


@pytest.mark.parametrize("label", [-2, 2])
def test_a_label_without_a_class_is_refused(tmp_path, label):
    manifest = manifest_of(range(5))
    manifest.label[3] = label
    with pytest.raises(FormatError, match="do not fit together"):
        round_trip(manifest, tmp_path)


def test_an_infinite_measure_is_refused(tmp_path):
    manifest = manifest_of(range(5))
    manifest.pictures["contrast"][3] = np.inf
    with pytest.raises(FormatError, match="'contrast' in it is infinite"):
        round_trip(manifest, tmp_path)


def test_a_column_of_another_length_is_refused(tmp_path):
    manifest = manifest_of(range(5))
    manifest.size = manifest.size[:4]
    with pytest.raises(FormatError, match="'size' has shape"):
        round_trip(manifest, tmp_path)


def test_saving_removes_what_a_killed_process_left(tmp_path):
    (tmp_path / ".data.h5.00000000.1.1.0123abcd.tmp").write_bytes(b"half")
    os.utime(tmp_path / ".data.h5.00000000.1.1.0123abcd.tmp", (1, 1))
    manifest_of(range(5)).save(tmp_path / "data.h5")
    assert os.listdir(tmp_path) == ["data.h5"]


def test_adopt_takes_over_unchanged_files():
    previous = manifest_of(range(5))
    previous.width[:] = 7
    previous.error[1] = "not an image"
    now = scanned_again(previous)
    now.adopt(previous)
    assert now.digest_bytes() == digests(range(5))
    assert now.width.tolist() == [7] * 5
    assert now.error[1] == "not an image"


def test_adopt_finds_files_by_path_whatever_their_order():
    previous = manifest_of(range(5))
    now = scanned_again(previous.subset(np.array([4, 0, 2])))
    now.adopt(previous)
    assert now.digest_bytes() == digests([4, 0, 2])


def test_adopt_leaves_new_files_to_be_read():
    now = scanned_again(manifest_of(range(5)))
    now.adopt(manifest_of(range(3)))
    assert now.hashed.tolist() == [True, True, True, False, False]


@pytest.mark.parametrize("column", ["size", "mtime_ns"])
def test_adopt_does_not_believe_a_changed_file(column):
    previous = manifest_of(range(5))
    now = scanned_again(previous)
    getattr(previous, column)[2] += 1
    now.adopt(previous)
    assert np.flatnonzero(~now.hashed).tolist() == [2]


def test_adopt_does_not_believe_a_file_that_changed_while_it_was_read():
    previous = manifest_of(range(5))
    now = scanned_again(previous)
    previous.mtime_ns[2] = -1
    now.adopt(previous)
    assert np.flatnonzero(~now.hashed).tolist() == [2]


@pytest.mark.parametrize("change", [{"root": "/elsewhere"}, {"decoder": 9}])
def test_adopt_believes_nothing_of_another_folder_or_decoder(change):
    previous = manifest_of(range(5))
    now = dataclasses.replace(scanned_again(previous), **change)
    now.adopt(previous)
    assert not now.hashed.any()


def test_adopt_keeps_the_sources_whatever_the_files():
    previous = manifest_of(range(5), root="/elsewhere")
    previous.record_source(fingerprint_of(SPEC), SPEC, "imagenet")
    now = scanned_again(manifest_of(range(5)))
    now.adopt(previous)
    assert now.sources == previous.sources


def test_adopt_forgets_what_went_wrong_before_a_file_was_read():
    previous = manifest_of(range(2))
    previous.digest[1], previous.error[1] = 0, "permission denied"
    now = scanned_again(previous)
    now.adopt(previous)
    assert now.error == ["", ""]


def test_adopt_keeps_an_error_that_the_scan_just_found():
    previous = manifest_of(range(2))
    now = scanned_again(previous)
    now.error[0] = "not a regular file"
    now.adopt(previous)
    assert now.error[0] == "not a regular file"


def test_adopt_takes_over_how_unchanged_files_look():
    previous = manifest_of(range(4))
    look(previous, 0, 2)
    now = scanned_again(previous)
    previous.size[2] += 1
    now.adopt(previous)
    assert now.measured.tolist() == [True, False, False, False]
    assert now.pictures[0].tobytes() == previous.pictures[0].tobytes()


def test_a_copy_looks_as_its_original_does():
    manifest = manifest_of([0, 1, 0, 2])
    look(manifest, 0)
    manifest.width[:], manifest.height[:] = [640, 0, 0, 0], [480, 0, 0, 0]
    manifest.adopt_pictures(manifest)
    assert manifest.measured.tolist() == [True, False, True, False]
    assert manifest.width.tolist() == [640, 0, 640, 0]
    assert manifest.height.tolist() == [480, 0, 480, 0]


def test_adopt_pictures_keeps_what_is_measured_already():
    one, other = manifest_of(range(2)), manifest_of([1, 0])
    look(one, 0)
    look(other, 0, 1)
    one.adopt_pictures(other)
    assert one.pictures["brightness"].tolist() == [0.125, 0.125]
    assert one.measured_digests() == set(digests(range(2)))


def test_usable_images_were_read_and_have_no_error():
    manifest = manifest_of(range(3))
    manifest.digest[0], manifest.error[1] = 0, "not an image"
    assert manifest.usable.tolist() == [False, False, True]


def test_a_subset_keeps_the_order_asked_for():
    whole = manifest_of(range(5))
    look(whole, 1)
    part = whole.subset(np.array([3, 1]))
    assert part.measured.tolist() == [False, True]
    assert part.path == ["3.jpg", "1.jpg"]
    assert part.digest_bytes() == digests([3, 1])
