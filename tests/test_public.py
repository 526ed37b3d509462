"""What the public functions have in common: examples, and results that are easy to look at."""

from __future__ import annotations

import inspect
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

import tlx
from tlx.classify.scoring.metrics import Metric
from tlx.finetune.api import FinetuneResult

HOSTILE = "<script>alert(1)"
WITHOUT_EXAMPLE: set[str] = set()


@pytest.mark.parametrize("name", sorted(set(tlx.__all__) - {"TlxError", "__version__", "heads"}))
def test_each_public_name_has_an_example(name):
    assert (">>>" not in (inspect.getdoc(getattr(tlx, name)) or "")) == (name in WITHOUT_EXAMPLE)


@pytest.fixture(scope="module")
def results(tmp_path_factory, class_folders) -> dict[str, Any]:
    """Return what each public function returns, of a data set with a hostile class and file."""
    folder = tmp_path_factory.mktemp("public")
    ws = folder / ".tlx"
    class_folders(folder / "data", {HOSTILE: 12, **{f"class {i}" * 12: 12 for i in range(20)}})
    evil = folder / "data" / HOSTILE / f"{HOSTILE * 10}.png"
    (folder / "data" / HOSTILE / "0000.png").rename(evil)
    evil.with_name("damaged.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    embedded = tlx.embed_images(folder / "data", workspace=ws, engine=MeanColour())
    fitted = tlx.fit_heads(["lda", "ridge", "centroid"], workspace=ws)
    metric = {"accuracy": Metric(0.5, 0.4, 0.6)}
    return {
        "EmbedResult": embedded,
        "features": tlx.ImageEmbedder(workspace=ws, engine=MeanColour()).transform([evil]),
        "Features": tlx.load_features(workspace=ws),
        "Evaluation": tlx.evaluate_features(*_own_arrays(), model="centroid"),
        "HeadsFit": fitted,
        "Run": fitted.runs[0],
        "RunInfo": fitted.runs[0].info,
        "Predictions": fitted.runs[0].predictions(),
        "Comparison": tlx.compare_heads(workspace=ws),
        "LearningCurve": tlx.learning_curve("centroid", workspace=ws, repeats=2),
        "Assessment": tlx.evaluate_run(fitted.runs[0], "data", workspace=ws),
        "Prediction": tlx.predict_images(fitted.runs[0], [evil], workspace=ws)[0],
        "unreadable Prediction": tlx.predict_images(
            fitted.runs[0], [evil, evil.with_name("damaged.png")], workspace=ws
        )[1],
        "FinetuneResult": FinetuneResult(
            run=fitted.runs[0], seed_run=HOSTILE, head=metric, finetuned=metric,
            verdict=SimpleNamespace(kept="head"),  # pyright: ignore[reportArgumentType]
            **dict.fromkeys((
                "choice", "probe", "boundary", "parity", "training", "devices", "average",
                "protocol", "refitted", "seconds",
            )),
        ),
    }  # fmt: skip


def _own_arrays() -> tuple[np.ndarray, np.ndarray]:
    X = np.random.default_rng(0).random((40, 3))
    return X, np.repeat(["ant", HOSTILE * 10], 20)


RESULTS = (
    "EmbedResult", "Features", "Evaluation",
    "HeadsFit", "Run", "RunInfo", "Predictions", "Comparison", "LearningCurve",
    "Assessment", "Prediction", "unreadable Prediction", "FinetuneResult",
)  # fmt: skip


class MeanColour:
    """The mean colours of an image over a grid, and nothing else."""

    name = "mean"
    note = ""
    output_shape = (48,)

    def __call__(self, batch):
        side = batch.shape[1] // 4
        fields = batch.reshape(len(batch), 4, side, 4, side, 3).mean((2, 4))
        return (fields.reshape(len(batch), 48) / 255).astype("float32")


@pytest.mark.parametrize("name", RESULTS)
def test_results_show_themselves_in_a_line(results, name):
    shown = repr(results[name])
    assert shown.startswith(f"<{name.split()[-1]}")
    assert shown.endswith(">")
    assert len(shown) < 1000
    assert shown.isprintable()


@pytest.mark.parametrize("name", sorted(set(RESULTS) - {"RunInfo", "Predictions"}))
def test_results_show_themselves_in_a_table_with_every_name_escaped(results, name):
    table = results[name]._repr_html_()
    assert table.startswith("<table>")
    assert "<script" not in table
    assert len(table) < 10_000


def test_the_hostile_names_are_there(results):
    assert "&lt;script&gt;" in results["Prediction"]._repr_html_()
    assert "&lt;script&gt;" in results["EmbedResult"]._repr_html_()


# What one asks of a run


def test_a_run_predicts_images_in_its_own_workspace(results, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    run = results["Run"]
    (found,) = run.predict(run.info.root + "/" + HOSTILE + "/0001.png")
    assert found.label == HOSTILE
    assert not list(tmp_path.iterdir())


def test_a_run_gives_features_their_probabilities(results):
    run, X = results["Run"], results["features"]
    proba = run.predict_proba(X.tolist())
    assert proba.shape == (len(X), len(run.class_names))
    np.testing.assert_allclose(proba.sum(axis=1), 1)
    assert run.class_names[proba[0].argmax()] == HOSTILE


@pytest.mark.parametrize("X", [np.zeros(48), np.array([["a.png"]]), [[None]]])
def test_what_is_no_table_of_features_is_refused(results, X):
    with pytest.raises(tlx.TlxError, match=r"no table of features.\n.*run.predict\(paths\)"):
        results["Run"].predict_proba(X)


def test_features_of_another_length_are_refused(results):
    with pytest.raises(tlx.TlxError, match="does not take embeddings of 7 numbers"):
        results["Run"].predict_proba(np.zeros((3, 7)))


def test_runs_are_listed_the_oldest_first(results):
    run = results["Run"]
    runs = tlx.list_runs(run.folder.parent.parent)
    assert {r.id for r in runs} == {"lda-1", "ridge-1", "centroid-1"}
    assert [r.info.created for r in runs] == sorted(r.info.created for r in runs)
