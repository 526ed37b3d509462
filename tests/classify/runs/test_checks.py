"""Run folders: what a damaged or hostile one says instead of doing harm."""

from __future__ import annotations

import hashlib
import io
import json
import os
import pickle
import shutil
import time
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from tlx.classify.runs import checks as run_checks
from tlx.classify.runs.best import load_run
from tlx.classify.runs.store import list_runs
from tlx.errors import FormatError, StorageError, TlxError

NUMBERS = ("n", "seconds", "seed", "trained_on", "views", "temperature", "predict_seconds")


def change(run: Path, **fields: Any) -> None:
    """Set fields of a run.json; of `...` the field goes."""
    info = {**json.loads((run / "run.json").read_text()), **fields}
    (run / "run.json").write_text(json.dumps({k: v for k, v in info.items() if v is not ...}))


def seal(run: Path) -> None:
    """Give each part listed the hash of what it is now, as somebody who forges a run would."""
    parts = json.loads((run / "run.json").read_text())["parts"]
    change(run, parts={p: hashlib.sha256((run / p).read_bytes()).hexdigest() for p in parts})


def use(run: Path) -> None:
    """Do all that can be done with a run, in the ways in which it can be named."""
    for name in (run.name, str(run)):
        loaded = load_run(name, run.parents[1])
        loaded.head().predict_proba(np.zeros((1, 8), np.float32))
        loaded.predictions()


def refused(run: Path, match: str, error: type[TlxError] = FormatError) -> None:
    """Assert that a run is refused at once, in one line of cause and one of remedy."""
    started = time.monotonic()
    with pytest.raises(error, match=match) as caught:
        use(run)
    assert time.monotonic() - started < 1
    assert "\n" not in caught.value.cause
    if error is FormatError:
        assert "fit it again with tlx fit-head" in caught.value.remedy


def test_a_run_comes_back(run):
    use(run)
    use(run.with_name("knn-1"))
    found = load_run("centroid-1", run.parents[1]).predictions()
    assert found.probabilities.shape == (40, 2)
    assert len(found.path) == 40
    assert found.trained_on.shape == (40, 32)


# run.json


KEYS = [
    *("format", "version", "parts", "model", "created", "dataset", "root", "sources"),
    *("protocol", "n", "trained_on", "views", "tta", "metrics", "confusion", "params"),
    *("temperature", "seconds", "predict_seconds", "settings", "seed", "environment"),
    *("scored_id", "trained_id", "class_names", "prior", "near_duplicates"),
]
VALUES = {
    "null": None,
    "a list": [1, "two", None],
    "a huge number": 10**400,
    "infinity": float("inf"),
    "no number": float("nan"),
    "below zero": -(10**30),
    "a text": "text",
    "an object": {"a": {"b": [1]}},
    "nothing": ...,
    "deep": [[[[[[[]]]]]]],
    "true": True,
}
GOOD = {  # what is as good as what tlx writes
    *((key, "a text") for key in ("model", "created", "dataset", "root", "protocol")),
    *((key, "an object") for key in ("params", "environment")),
    *((key, "nothing") for key in ("trained_on", "views", "tta", "predict_seconds", "prior")),
    *((key, "nothing") for key in ("settings", "environment", "scored_id", "trained_id")),
    *((key, "nothing") for key in ("temperature", "near_duplicates")),
    *((key, "null") for key in ("predict_seconds", "prior", "near_duplicates")),
}


def test_every_key_of_a_run_is_tried(run):
    assert set(json.loads((run / "run.json").read_text())) == set(KEYS)


@pytest.mark.parametrize("kind", VALUES)
def test_a_key_of_another_type_is_refused_by_its_name(run, kind):
    good = (run / "run.json").read_bytes()
    for key in KEYS:
        change(run, **{key: VALUES[kind]})
        if (key, kind) in GOOD:
            use(run)
        else:
            refused(run, {"format": "is no run of tlx", "version": "has format"}.get(key, key)) if (
                key != "version"
            ) else refused_as_newer(run)
        (run / "run.json").write_bytes(good)


def refused_as_newer(run: Path) -> None:
    with pytest.raises(
        FormatError, match=r"has format .*, and this tlx reads formats 1 to 2"
    ) as caught:
        use(run)
    assert "upgrade" in caught.value.remedy


def nested(run: Path, key: str, *path: Any, value: Any) -> None:
    info = json.loads((run / "run.json").read_text())
    part = info[key]
    for step in path[:-1]:
        part = part[step]
    part[path[-1]] = value
    (run / "run.json").write_text(json.dumps(info))


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("metrics", "accuracy"), None),
        (("metrics", "accuracy", "value"), "0.9"),
        (("metrics", "accuracy", "low"), float("nan")),
        (("metrics", "log_loss", "high"), 10**400),
        (("metrics", "accuracy", "more"), 1),
        (("confusion", 0), [1]),
        (("confusion", 0, 0), -1),
        (("class_names", 0), 5),
        (("class_names", 1), "ant"),
        (("sources", 0, "fingerprint"), "0" * 64),
        (("sources", 0, "spec"), "{}"),
        (("sources", 0, "spec"), "[" * 100_000),
        (("sources", 0, "weights"), None),
        (("sources", 0, "mean_views"), 10**9),
        (("sources", 0, "mean_views"), "5"),
        (("parts", "head.h5"), None),
        (("parts", "head.h5"), "0" * 63),
        (("settings", "options"), []),
        (("settings", "folds"), None),
        (("settings", "grid"), "C"),
    ],
)
def test_what_lies_deeper_is_looked_at_too(run, path, value):
    nested(run, *path, value=value)
    refused(run, path[0])


@pytest.mark.parametrize(
    ("field", "value"),
    [("image_size", 10**6), ("image_size", "224"), ("image_size", 0), ("view", -1), ("layer", 5)],
)
def test_a_spec_that_cannot_be_is_refused_though_its_fingerprint_fits(run, field, value):
    from tlx.cache.identity import canonical_json, fingerprint_of

    (source,) = json.loads((run / "run.json").read_text())["sources"]
    spec = canonical_json({**json.loads(source["spec"]), field: value})
    change(run, sources=[{**source, "spec": spec, "fingerprint": fingerprint_of(spec)}])
    refused(run, "sources")


@pytest.mark.parametrize(
    "text", [b"", b"{", b"\xff\xfe", b"[]", b"5", b"[" * 1_000_000, b'{"format": 1' + b"0" * 5000]
)
def test_what_is_no_json_is_no_run(run, text):
    (run / "run.json").write_bytes(text)
    refused(run, "is no run")


def test_control_characters_do_not_reach_the_terminal(run):
    change(run, model="\x1b[31mred")
    refused(run, r"model \"\\u001b\[31mred\"")


# Parts


@pytest.mark.parametrize(
    "part", ["../secret", "/etc/passwd", "..", ".", "", "a/b", "a\\b", "a\0b", "x" * 300, "ü\n"]
)
def test_a_part_outside_the_run_is_refused_by_its_name(run, part):
    (run.parent / "secret").write_text("mine")
    parts = json.loads((run / "run.json").read_text())["parts"]
    change(run, parts={**parts, part: hashlib.sha256(b"mine").hexdigest()})
    refused(run, "lists a part outside it")


@pytest.mark.parametrize("part", ["head.h5", "predictions.h5"])
def test_a_part_that_links_out_of_the_run_is_refused(run, part):
    shutil.move(run / part, run.parent / "elsewhere.h5")
    (run / part).symlink_to(run.parent / "elsewhere.h5")
    refused(run, f"{part} is a link to a place outside the run")


def test_a_run_that_is_a_link_itself_is_a_run(run):
    shutil.move(run, run.parents[2] / "kept")
    run.symlink_to(run.parents[2] / "kept")
    use(run)


def test_a_link_that_ends_nowhere_or_in_itself_is_a_missing_part(run):
    for target in ("nowhere", "head.h5"):
        (run / "head.h5").unlink()
        (run / "head.h5").symlink_to(target)
        refused(run, r"lacks its part head\.h5")


@pytest.mark.parametrize("part", ["head.h5", "predictions.h5", "run.json"])
def test_pipes_devices_folders_and_missing_parts_are_refused_at_once(run, part):
    (run / part).unlink()
    refused(run, f"lacks its part {part}")
    os.mkfifo(run / part)
    refused(run, f"{part} is no regular file")
    (run / part).unlink()
    (run / part).mkdir()
    refused(run, f"{part} is no regular file")


@pytest.mark.parametrize("part", ["head.h5", "predictions.h5", "run.json"])
def test_a_sparse_file_of_a_terabyte_is_refused_at_once(run, part):
    try:
        os.truncate(run / part, 2**40)
    except OSError:
        pytest.skip("the file system has no files of this size")
    refused(run, "has 1,099,511,627,776 bytes")


@pytest.mark.parametrize("part", ["head.h5", "predictions.h5"])
def test_a_part_with_another_hash_is_refused_however_it_is_reached(run, part):
    """Also through the list of all runs, which reads no parts."""
    data = bytearray((run / part).read_bytes())
    data[-1] ^= 1
    (run / part).write_bytes(data)
    refused(run, f"{part} is not what the run was saved with")
    (listed,) = [one for one in list_runs_of(run) if one.id == run.name]
    with pytest.raises(FormatError, match="is not what the run was saved with"):
        listed.head() if part == "head.h5" else listed.predictions()


def list_runs_of(run: Path) -> list:
    from tlx.workspace import Workspace

    return list_runs(Workspace(run.parents[1]))


def test_a_part_that_may_not_be_read_is_no_damage(run, deny):
    deny(run / "predictions.h5", 0)
    refused(run, "predictions.h5 cannot be read: Permission denied", StorageError)


# Parts that are well hashed and lie


def h5(run: Path, part: str, edit: Callable[[Any], None]) -> None:
    with h5py.File(run / part, "a") as file:
        edit(file)
    seal(run)


def replaced(name: str, value: Any = None, **options: Any) -> Callable[[Any], None]:
    def edit(file):
        del file[name]
        if value is not None or options:
            file.create_dataset(name, data=value, **options)

    return edit


def linked(name: str, target: Any) -> Callable[[Any], None]:
    def edit(file):
        del file[name]
        file[name] = target

    return edit


BOMB = {"shape": (10**12, 2), "dtype": np.float32, "chunks": (64, 2)}

PREDICTIONS = {
    "a shape bomb": replaced("probabilities", **BOMB),
    "a gzip bomb": replaced("probabilities", np.zeros((10**6, 2), "f4"), compression="gzip"),
    "no probabilities": replaced("probabilities"),
    "no digests": replaced("digest"),
    "more classes": replaced("probabilities", np.zeros((40, 3), np.float32)),
    "fewer rows": replaced("probabilities", np.zeros((39, 2), np.float32)),
    "not finite": replaced("probabilities", np.full((40, 2), np.nan, np.float32)),
    "below zero": replaced("probabilities", np.full((40, 2), -1, np.float32)),
    "doubles": replaced("probabilities", np.zeros((40, 2))),
    "labels beyond the classes": replaced("label", np.full(40, 2, np.int32)),
    "labels below the classes": replaced("label", np.full(40, -1, np.int32)),
    "numbers for paths": replaced("path", np.zeros(40)),
    "short digests": replaced("digest", np.zeros((40, 16), np.uint8)),
    "a digest short": replaced("trained_on", np.zeros((40, 31), np.uint8)),
    "strings of varying length": replaced("path", ["a"] * 40, dtype=h5py.string_dtype()),
    "an external link": linked("label", h5py.ExternalLink("/etc/passwd", "x")),
    "a soft link": linked("label", h5py.SoftLink("/fold")),
    "an empty data set": replaced("fold", h5py.Empty("i4")),
}
HEADS = {
    "a shape bomb": replaced("weights", **BOMB),
    "a gzip bomb": replaced("weights", np.zeros((10**6, 2), np.float32), compression="gzip"),
    "no weights": replaced("weights"),
    "no bias": replaced("bias"),
    "a bias of another length": replaced("bias", np.zeros(3, np.float32)),
    "an external link": linked("weights", h5py.ExternalLink("/etc/passwd", "x")),
    "doubles": replaced("weights", np.zeros((8, 2))),
    "not finite": replaced("weights", np.full((8, 2), np.nan, np.float32)),
    "more classes": lambda file: (
        replaced("weights", np.zeros((8, 3), np.float32))(file),
        replaced("bias", np.zeros(3, np.float32))(file),
    ),
    "a group": lambda file: file.create_group("more"),
}


@pytest.mark.parametrize("name", PREDICTIONS)
def test_hostile_predictions_are_refused(run, name):
    h5(run, "predictions.h5", PREDICTIONS[name])
    refused(run, r"predictions\.h5")


@pytest.mark.parametrize("name", HEADS)
def test_a_hostile_linear_head_is_refused(run, name):
    h5(run, "head.h5", HEADS[name])
    refused(run, r"head\.h5")


@pytest.mark.parametrize("name", ["centroid-1", "knn-1"])
def test_a_head_for_embeddings_of_another_length_is_refused(two_runs, name):
    """It fits the run it is in, but not what the run's backbone computes."""
    loaded = load_run(name, two_runs.root)
    with pytest.raises(FormatError, match=f"the head of run {name} does not take .* 9 numbers"):
        run_checks.head_probabilities(loaded.folder, loaded.head(), np.zeros((2, 9), np.float32))


def test_an_external_link_to_a_pipe_is_not_followed(run):
    os.mkfifo(run.parent / "pipe")
    h5(run, "head.h5", linked("weights", h5py.ExternalLink(str(run.parent / "pipe"), "x")))
    refused(run, r"head\.h5 is damaged or foreign: no plain data set 'weights'")


class Evil:
    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self):
        return (Path.touch, (self.target,))


@pytest.mark.parametrize("part", ["head.h5", "predictions.h5"])
def test_a_pickle_in_place_of_a_part_is_refused_and_not_run(run, part, tmp_path):
    (run / part).write_bytes(pickle.dumps(Evil(tmp_path / "ran")))
    seal(run)
    refused(run, part)
    assert not (tmp_path / "ran").exists()


def test_a_pickle_in_a_head_of_neighbours_is_refused_and_not_run(run, tmp_path):
    knn = run.with_name("knn-1")
    for data in (pickle.dumps(Evil(tmp_path / "ran")), pickled_zip(Evil(tmp_path / "ran"))):
        (knn / "head.skops").write_bytes(data)
        list_old_head(knn)
        refused(knn, r"head\.skops")
    assert not (tmp_path / "ran").exists()


def list_old_head(run: Path) -> None:
    """Make a run one of before, whose head is a ``head.skops``."""
    parts = json.loads((run / "run.json").read_text())["parts"]
    change(run, parts={"head.skops": "", "predictions.h5": parts["predictions.h5"]})
    seal(run)


def test_a_run_of_neighbours_of_before_is_read(run):
    knn = run.with_name("knn-1")
    data = Path(__file__).parents[1] / "heads" / "data"
    (knn / "head.skops").write_bytes((data / "head.skops").read_bytes())
    list_old_head(knn)
    with pytest.raises(
        FormatError, match=r"head\.skops does not give probabilities of the run's 2"
    ):
        load_run("knn-1", knn.parents[1]).head()
    change(knn, class_names=["a", "b", "c"], confusion=[[0] * 3] * 3, prior=None)
    found = load_run("knn-1", knn.parents[1]).head().predict_proba(np.load(data / "X.npy"))
    np.testing.assert_allclose(found, np.load(data / "p.npy"), atol=0.2)  # the run is calibrated


def pickled_zip(evil: object) -> bytes:
    """A skops file whose schema is a pickle's."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("schema.json", json.dumps({"__class__": "function", "__module__": "os"}))
        archive.writestr("data.pkl", pickle.dumps(evil))
    return buffer.getvalue()


def test_a_zip_bomb_is_refused_before_it_is_unpacked(run):
    knn = run.with_name("knn-1")
    with zipfile.ZipFile(knn / "head.skops", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("array.npy", bytes(50_000_000))
    list_old_head(knn)
    refused(knn, r"head\.skops claims 50,000,000 bytes in a file of")


def test_a_run_without_a_head_is_refused(run):
    parts = json.loads((run / "run.json").read_text())["parts"]
    change(run, parts={"predictions.h5": parts["predictions.h5"]})
    refused(run, "run centroid-1 has no head")
    change(run, parts={"head.h5": parts["head.h5"]})
    refused(run, r"run centroid-1 has no predictions\.h5")


@pytest.mark.slow
def test_flipped_bytes_are_harmless_or_noticed(run):
    """Without the hash, as if it had been forged: arithmetic on arrays or a FormatError."""
    rng = np.random.default_rng(0)
    for part in ("head.h5", "predictions.h5"):
        good = (run / part).read_bytes()
        for _ in range(40):
            data = bytearray(good)
            data[rng.integers(len(data))] ^= 1 << rng.integers(8)
            (run / part).write_bytes(data)
            seal(run)
            try:
                use(run)
            except FormatError:
                continue
        (run / part).write_bytes(good)


def test_what_tlx_writes_is_far_below_the_limits(run):
    assert (run / "run.json").stat().st_size * 1000 < run_checks.INFO_BYTES
    assert run_checks.PART_BYTES >= 4 * 2**30
