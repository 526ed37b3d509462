"""A data set as one Parquet file."""

import json
import os
import sys
import tracemalloc

import numpy as np
import pytest
from cache_helpers import DIM, SPEC, arrays, digest, manifest_of, store_of

from tlx.cache import parquet as module
from tlx.cache.identity import fingerprint_of
from tlx.cache.parquet import HeldOut, export_parquet
from tlx.errors import DataError, MissingExtraError, StorageError

parquet = pytest.importorskip("pyarrow.parquet")


def export(manifest, folder, held_out=None):
    source = {"spec": SPEC, "fingerprint": fingerprint_of(SPEC)}
    return export_parquet(folder / "cache", manifest, source, folder / "f.parquet", held_out)


def said_of(numbers) -> HeldOut:
    """What a run said: of an even number that it is probably a dog."""
    sure = np.array([[0.25, 0.75] if n % 2 == 0 else [0.875, 0.125] for n in numbers], np.float32)
    return HeldOut("lda-1", ("cat", "dog"), arrays(numbers)[0], sure)


def test_pandas_reads_it(tmp_path):
    pandas = pytest.importorskip("pandas")
    store_of(tmp_path / "cache", range(10))
    manifest = manifest_of([7, 2, 5])
    manifest.group = ["", "herd", ""]
    done = export(manifest, tmp_path)
    assert (done.images, done.shape, done.dataset) == (3, (DIM,), "data")
    frame = pandas.read_parquet(tmp_path / "f.parquet")
    assert list(frame) == ["path", "label", "split", "group", "features"]
    assert frame["path"].tolist() == ["7.jpg", "2.jpg", "5.jpg"]
    assert frame["label"].tolist() == ["dog", "cat", "dog"]
    assert frame["split"].tolist() == ["train"] * 3
    assert frame["group"].isna().tolist() == [True, False, True]
    assert np.array_equal(np.stack(frame["features"].tolist()), arrays([7, 2, 5])[1])


def test_predictions_are_beside_the_images_that_were_scored(tmp_path):
    store_of(tmp_path / "cache", range(4))
    export(manifest_of(range(4)), tmp_path, said_of([3, 0, 2]))
    rows = parquet.read_table(tmp_path / "f.parquet").to_pylist()
    assert [row["predicted_label"] for row in rows] == ["dog", None, "dog", "cat"]
    assert [row["probabilities"] for row in rows] == [
        [0.25, 0.75],
        None,
        [0.25, 0.75],
        [0.875, 0.125],
    ]


def test_lists_have_one_length_and_the_file_says_what_they_mean(tmp_path):
    store_of(tmp_path / "cache", range(4))
    export(manifest_of(range(4)), tmp_path, said_of(range(4)))
    schema = parquet.read_schema(tmp_path / "f.parquet")
    assert str(schema.field("features").type).startswith("fixed_size_list<")
    assert schema.field("features").type.list_size == DIM
    assert schema.field("probabilities").type.list_size == 2
    about = json.loads(schema.metadata[b"tlx"])
    assert (about["dataset"], about["run"]) == ("data", "lda-1")
    assert about["probabilities"] == about["class_names"] == ["cat", "dog"]
    assert (about["spec"], about["feature_shape"]) == (SPEC, [DIM])


def test_a_run_of_other_images_is_refused(tmp_path):
    store_of(tmp_path / "cache", range(4))
    with pytest.raises(DataError, match="lda-1 was scored on no image of data set 'data'"):
        export(manifest_of(range(4)), tmp_path, said_of([8, 9]))


def test_many_row_groups_are_one_table(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "GROUP_BYTES", 3 * 4 * DIM)
    store_of(tmp_path / "cache", range(0, 10, 2), range(1, 10, 2))
    order = [3, 9, 1, 0, 2, 8, 4, 7, 6, 5]
    export(manifest_of(order), tmp_path, said_of(order[:5]))
    file = parquet.ParquetFile(tmp_path / "f.parquet")
    assert [file.metadata.row_group(k).num_rows for k in range(file.num_row_groups)] == [3, 3, 3, 1]
    table = file.read()
    assert np.array_equal(np.stack(table["features"].to_pylist()), arrays(order)[1])
    assert table["probabilities"].is_null().to_pylist() == [False] * 5 + [True] * 5


def test_memory_does_not_grow_with_the_images(tmp_path, monkeypatch):
    dim, each = 2048, 100

    def peak(shards: int) -> int:
        folder = tmp_path / str(shards)
        numbers = range(shards * each)
        rng = np.random.default_rng(0)
        store = store_of(folder / "cache")
        ids = np.frombuffer(b"".join(map(digest, numbers)), np.uint8).reshape(-1, 32)
        for k in range(shards):
            rows = rng.standard_normal((each, dim), np.float32)
            store.add_shard(ids[k * each : (k + 1) * each], rows)
        manifest = manifest_of(numbers)
        tracemalloc.start()
        export(manifest, folder)
        top = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return top

    monkeypatch.setattr(module, "GROUP_BYTES", 4 * dim * each)
    few, many = peak(2), peak(8)
    assert many - few < 2 * 4 * dim * each  # six row groups more were written


def test_images_without_label_and_names_that_are_not_utf8(tmp_path):
    store_of(tmp_path / "cache", range(2))
    manifest = manifest_of(range(2))
    manifest.path[0] = os.fsdecode(b"caf\xe9.jpg")
    manifest.label[0] = -1
    export(manifest, tmp_path)
    first = parquet.read_table(tmp_path / "f.parquet").to_pylist()[0]
    assert (first["path"], first["label"]) == ("caf\\xe9.jpg", None)


def test_missing_features_leave_the_old_file_alone(tmp_path):
    (tmp_path / "f.parquet").write_bytes(b"old")
    store_of(tmp_path / "cache", range(2))
    with pytest.raises(DataError, match="1 of 3 images"):
        export(manifest_of(range(3)), tmp_path)
    assert (tmp_path / "f.parquet").read_bytes() == b"old"


def test_what_ends_the_writing_leaves_the_old_file_and_nothing_else(tmp_path, monkeypatch):
    (tmp_path / "f.parquet").write_bytes(b"old")
    store = store_of(tmp_path / "cache", range(6))
    monkeypatch.setattr(module, "GROUP_BYTES", 4 * DIM)
    real, calls = type(store).gather, []

    def gather(self, digests):
        calls.append(1)
        if len(calls) == 4:
            raise KeyboardInterrupt
        return real(self, digests)

    monkeypatch.setattr(type(store), "gather", gather)
    with pytest.raises(KeyboardInterrupt):
        export(manifest_of(range(6)), tmp_path)
    assert (tmp_path / "f.parquet").read_bytes() == b"old"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["cache", "f.parquet"]


def test_a_file_that_cannot_be_written_is_named(tmp_path):
    store_of(tmp_path / "cache", range(2))
    (tmp_path / "f.parquet").mkdir()
    with pytest.raises(StorageError, match=r"(?s)f.parquet cannot be written: .*Name another file"):
        export(manifest_of(range(2)), tmp_path)


def test_the_missing_extra_is_named_before_any_work(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(MissingExtraError, match=r"(?s)pyarrow is not.*tlx-vision\[pandas\]"):
        export(manifest_of(range(2)), tmp_path)  # there is no store at all
