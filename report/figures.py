"""The sections about what runs are worth: verdict, heads, confusion, mistakes, calibration."""

from __future__ import annotations

import math
import shlex
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from .._version import __version__
from ..cache.manifest import Manifest
from ..classify.compare import Comparison
from ..classify.duplicates import are_grouped
from ..classify.runs.run import Run
from ..classify.scoring.intervals import Metric
from ..classify.sources import describe, embed_command, layers_of, mean_views, short_name
from .album import Album
from .charts import Series, Svg, interval, lines, number, reliability
from .judged import Judged
from .problems import Card, Shown

_MATRIX = 20  # classes; of more only the pairs that are confused are shown
_PAIRS = 24
_CELL = 48  # photos of a cell of mistakes
_RIGHT = 12  # photos of a cell of right ones, the least sure
_WRONG = 48
_VERDICTS = {
    "best": "first",
    "equal": "equal in practice",
    "worse": "worse, beyond chance",
    "not known": "not known",
}


@dataclass(frozen=True)
class Head:
    """A run in the table of heads; texts but for the charts."""

    run: str
    model: str
    accuracy: str
    bounds: str
    chart: Svg
    loss: str
    difference: str
    verdict: str


@dataclass(frozen=True)
class Cell:
    """A cell of the confusion matrix: how many images, and how dark it is, 0 to 5."""

    true: int
    predicted: int
    n: int
    shade: int


@dataclass(frozen=True)
class Confusion:
    """The confusion matrix, or of many classes the pairs that are confused most.

    Attributes
    ----------
    names : tuple of str
    rows : list of lists of Cell
        Empty if there are too many classes.
    pairs : list of Cell
        Most confused first.
    photos : dict of str to list of int
        Numbers of photos by cell: ``"true-predicted"``.
    """

    names: tuple[str, ...]
    rows: list[list[Cell]]
    pairs: list[Cell]
    photos: dict[str, list[int]]


@dataclass(frozen=True)
class ClassRow:
    """A class in the table of classes."""

    name: str
    n: int
    precision: str
    recall: str
    precision_chart: Svg
    recall_chart: Svg


def verdict(comparison: Comparison, judged: Judged) -> str:
    """Return what the run that is judged is worth, and how it stands among the others."""
    run = judged.run
    accuracy = run.metrics["accuracy"]
    told = (
        f"{run.id} gets {accuracy.value:.1%} of {run.info.n:,} images right that it had not "
        f"learned from: {accuracy.low:.1%} to {accuracy.high:.1%} with 95% confidence."
    )
    others = [row for row in comparison.rows if row.run.id != run.id]
    if not others:
        return told
    own = next((row for row in comparison.rows if row.run.id == run.id), None)
    if own is None or own.verdict in ("best", "equal"):
        several = f"None of the {len(others)} others is"
        who = several if len(others) > 1 else f"{others[0].run.id} is not"
        return f"{told} {who} better beyond chance."
    best = comparison.best.id
    if own.verdict == "worse":
        return f"{told} {best} gets more of them right, beyond chance."
    return f"{told} Whether {best} is better is not known."


def heads(comparison: Comparison) -> list[Head]:
    """Return the rows of the table of heads, the best first."""
    rows = comparison.rows
    low = min(row.metric.low for row in rows)
    high = max(row.metric.high for row in rows)
    room = 0.05 * (high - low) or 0.01
    found = []
    for place, row in enumerate(rows):
        metric, difference, loss = row.metric, row.difference, row.run.metrics["log_loss"]
        told = _VERDICTS.get(row.verdict, row.verdict)
        if row.images_needed is not None:
            told += f"; {row.images_needed:,} images would tell"
        points = (100 * v for v in (difference.value, difference.low, difference.high))
        found.append(
            Head(
                row.run.id,
                row.run.info.model,
                f"{metric.value:.1%}",
                f"{metric.low:.1%} to {metric.high:.1%}",
                interval(metric, low - room, high + room, f"{metric.low:.1%} to {metric.high:.1%}"),
                f"{loss.value:.4f}",
                "" if place == 0 else "{:+.1f} ({:+.1f} to {:+.1f})".format(*points),
                told,
            )
        )
    return found


def confusion(judged: Judged, album: Album) -> Confusion:
    """Return the confusion matrix with the photos of its cells."""
    counts, names = judged.confusion, judged.run.class_names
    C = len(names)
    share = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    shade = np.ceil(5 * np.sqrt(share)).astype(int)

    def cell(t: int, p: int) -> Cell:
        return Cell(t, p, int(counts[t, p]), int(shade[t, p]) if counts[t, p] else 0)

    off = counts.copy()
    np.fill_diagonal(off, 0)
    order = np.argsort(-off, axis=None, kind="stable")[:_PAIRS]
    pairs = [cell(int(k) // C, int(k) % C) for k in order if off.flat[k]]
    rows = [[cell(t, p) for p in range(C)] for t in range(C)] if C <= _MATRIX else []
    shown = [c for row in rows for c in row if c.n] if rows else pairs
    shown.sort(key=lambda c: c.true == c.predicted)  # mistakes first: they are in the page surely
    photos = {}
    for one in shown:
        most = _RIGHT if one.true == one.predicted else _CELL
        paths = (judged.scored.path[k] for k in judged.cell(one.true, one.predicted, most))
        photos[f"{one.true}-{one.predicted}"] = [album.add(path) for path in paths]
    return Confusion(names, rows, pairs, photos)


def mistakes(judged: Judged, album: Album) -> list[Shown]:
    """Return the images that are most confidently wrong."""
    names, found = judged.run.class_names, []
    for row in judged.wrong[:_WRONG]:
        number = album.add(judged.scored.path[row])
        card = Card(
            number,
            album.photos[number].path,
            names[judged.scored.label[row]],
            names[judged.predicted[row]],
            "",
            f"{judged.confidence[row]:.2f}",
            can_be_fixed=album.photos[number].is_there,
        )
        found.append(Shown((card,)))
    return found


def classes(run: Run) -> list[ClassRow]:
    """Return precision and recall of each class, the least F1 first."""
    reports = sorted(run.per_class(), key=lambda r: r.f1.value if r.f1 else 2)
    measured = [m for r in reports for m in (r.precision, r.recall) if m]
    low = min([m.low for m in measured], default=0.0)
    low = math.floor(10 * low) / 10 if low < 0.95 else 0.9

    def told(metric: Metric | None) -> str:
        if metric is None:
            return "none"
        return f"{metric.value:.1%} ({metric.low:.1%} to {metric.high:.1%})"

    return [
        ClassRow(
            r.name,
            r.n,
            told(r.precision),
            told(r.recall),
            interval(r.precision, low, 1.0, told(r.precision)),
            interval(r.recall, low, 1.0, told(r.recall)),
        )
        for r in reports
    ]


def calibration(judged: Judged) -> dict[str, Any]:
    """Return the reliability diagram and the numbers that it is drawn from."""
    bins = judged.reliability()
    error = judged.run.metrics.get("ece")
    rows = [
        (f"{confidence:.1%}", f"{m.value:.1%}", f"{m.low:.1%} to {m.high:.1%}", n)
        for confidence, m, n in bins
    ]
    return {"chart": reliability(bins), "rows": rows, "error": str(error) if error else ""}


def finetunings(runs: Sequence[Run]) -> list[dict[str, Any]]:
    """Return the curve of each fine-tuned run that tells its epochs.

    What a run's file says may have been written by anybody: what is no number is left out.
    """
    found = []
    for run in runs:
        told = run.info.finetune.report.get("epochs") if run.info.finetune else None
        epochs = [e for e in told if isinstance(e, dict)] if isinstance(told, list) else []
        epochs = [e for e in epochs if number(e.get("epoch")) is not None]
        if not epochs:
            continue
        best = max((k for k, e in enumerate(epochs) if e.get("best") is True), default=None)

        def line(key: str, epochs: list[Any] = epochs) -> list[tuple[float, float | None]]:
            return [(float(e["epoch"]), number(e.get(key))) for e in epochs]

        loss = [Series("held out", line("val_loss"), best), Series("training", line("train_loss"))]
        right = [Series("held out", line("val_accuracy"), best)]
        verdict = run.info.finetune.report.get("verdict") if run.info.finetune else None
        why = verdict.get("why") if isinstance(verdict, dict) else ""
        found.append(
            {
                "run": run.id,
                "why": why if isinstance(why, str) else "",
                "loss": lines(loss, "epoch", "log loss", f"Log loss by epoch of {run.id}"),
                "accuracy": lines(
                    right, "epoch", "accuracy", f"Accuracy by epoch of {run.id}", percent=True
                ),
                "rows": [
                    [_figure(e.get(k)) for k in ("epoch", "train_loss", "val_loss", "val_accuracy")]
                    for e in epochs
                ],
            }
        )
    return found


def _figure(value: Any) -> str:
    found = number(value)
    return "" if found is None else f"{found:.4g}"


def provenance(run: Run, decided: Mapping[str, str]) -> list[tuple[str, str]]:
    """Return what a run was made from and with, and how many labels a person decided of."""
    info = run.info
    rows = [
        ("run", f"{run.id}, {info.model}"),
        ("made", info.created),
        ("scored by", f"{info.protocol}, {info.n:,} images, seed {info.seed}"),
        ("features", describe(info.sources)),
    ]
    rows += [("fingerprint", str(source["fingerprint"])) for source in info.sources]
    chosen = {k: v for k, v in info.params.items() if v is not None}
    rows += [("parameters", ", ".join(f"{k} {v}" for k, v in chosen.items()))] if chosen else []
    counts = Counter(decided.values())
    words = {"relabel": "corrected", "drop": "left out", "keep": "kept"}
    told = [f"{counts[action]:,} {word}" for action, word in words.items() if counts[action]]
    rows += [("by tlx relabel", ", ".join(told))] if told else []
    rows += [(name, str(value)) for name, value in info.environment.items()]
    return [*rows, ("report by tlx", __version__)]


def commands(run: Run | None, manifest: Manifest, sources: Sequence[dict[str, Any]]) -> list[str]:
    """Return the commands that make features and run again, in order."""
    source = (run.info.sources if run else sources)[-1:]
    found = [embed_command(one, manifest.root, mean_views(one)) for one in source]
    if found and manifest.validation_fraction:
        found[0] += f" --validation-fraction {manifest.validation_fraction:g}"
        found[0] += f" --seed {manifest.split_seed}" if manifest.split_seed else ""
    if run is not None and run.info.recipe is not None:
        info, recipe = run.info, run.info.recipe
        words = ["tlx", "fit-head", "--model", info.model, "--dataset", info.dataset]
        if (
            len(info.sources) > 1
            or mean_views(info.sources[0])
            or layers_of(info.sources) != "last"
        ):
            words += ["--features", short_name(info.sources)]
        options: dict[str, Any] = {
            "folds": recipe.folds if "-fold" in info.protocol and recipe.folds != 5 else None,
            "seed": info.seed or None,
            "views": info.views or None,
            "tta": info.tta or None,
            "near-duplicates": "group" if are_grouped(info.near_duplicates) else None,
            **{k: v for k, v in recipe.options.items() if isinstance(v, int | float | str)},
        }
        for name, value in options.items():
            if value is not None:
                words += [f"--{name.replace('_', '-')}", str(value)]
        found.append(shlex.join(words))
    elif run is not None and run.info.finetune is not None:
        found.append(shlex.join(["tlx", "finetune", run.info.finetune.seed_run]))
    return found
