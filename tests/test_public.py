"""What the public functions have in common: examples, and results that are easy to look at."""

from __future__ import annotations

import inspect
from types import SimpleNamespace
from typing import Any

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


RESULTS = (
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
