"""``tlx compare``: which head is best, and which are as good as far as these images can tell."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from textwrap import wrap
from typing import TYPE_CHECKING, Annotated, Any

import typer

from .common import (
    DEFAULT_WORKSPACE,
    DatasetOption,
    JsonOption,
    SeedOption,
    WorkspaceOption,
    emit,
    in_workspace,
    next_command,
    note,
    say,
)
from .progress import progress
from .render import METRIC_NAMES, choice_text, near_lines, table

if TYPE_CHECKING:
    from ..classify.compare import ComparedRun, Comparison


def compare(
    runs: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="RUN",
            help="Runs to compare; by default all of the data set that were made on the same "
            "images and folds as the newest.",
        ),
    ] = None,
    metric: Annotated[
        str,
        typer.Option(
            help="What ranks them: accuracy, balanced_accuracy, macro_f1, log_loss or roc_auc."
        ),
    ] = "accuracy",
    rope: Annotated[
        float,
        typer.Option(
            min=0,
            help="Differences up to so many points are equal in practice; of log loss, hundredths.",
        ),
    ] = 1.0,
    dataset: DatasetOption = None,
    refit: Annotated[
        bool,
        typer.Option(
            "--refit",
            help="Fit runs made on other images or folds again, on those of the newest run.",
        ),
    ] = False,
    plot: Annotated[
        Path | None, typer.Option(help="Draw the intervals into this .png, .svg or .pdf file.")
    ] = None,
    seed: SeedOption = 0,
    workspace: WorkspaceOption = DEFAULT_WORKSPACE,
    as_json: JsonOption = False,
) -> None:
    """Rank runs on the same images and folds, with paired tests against the best."""
    from ..classify.compare import compare_heads
    from ..classify.plots import check_plot, plot_comparison
    from ..classify.runs.best import best_run
    from ..workspace import Workspace

    if plot is not None:
        check_plot(plot)
    with progress("Fitting again" if refit else "Comparing", counted=False) as show:
        found = compare_heads(
            runs or None,
            metric=metric,
            rope=rope / 100,
            dataset=dataset,
            refit=refit,
            workspace=workspace,
            seed=seed,
            progress=show,
        )
    if plot is not None:
        plot_comparison(found, plot)
        note(f"picture written to {plot}")
    if as_json:
        emit(as_dict(found))
        return
    say(as_text(found, refit))
    best = best_run(Workspace(workspace), found.dataset)
    if not runs and best.id != found.best.id:
        note(f"'best' is {best.id}: of the runs on all training images it has the least log loss.")


def as_dict(found: Comparison) -> dict[str, Any]:
    """Return the JSON object of the command."""
    near = found.best.info.near_duplicates
    return {
        "dataset": found.dataset,
        "protocol": found.protocol,
        "n": found.n,
        "metric": found.metric,
        "best": found.best.id,
        "best_corrected": asdict(found.best_corrected),
        "pairs": found.pairs,
        "rope": found.rope,
        "rows": [_row(row) for row in found.rows],
        "left_out": [{"run": out.run.id, "reason": out.reason} for out in found.left_out],
        "refitted": found.refitted,
        "near_duplicates": near and asdict(near),
    }


def _row(row: ComparedRun) -> dict[str, Any]:
    info, difference = row.run.info, row.difference
    return {
        "run": row.run.id,
        "model": info.model,
        "metrics": {name: asdict(metric) for name, metric in info.metrics.items()},
        "difference": difference.value,
        "low": difference.low,
        "high": difference.high,
        "p_value": difference.p_value,
        "verdict": row.verdict,
        "images_needed": row.images_needed,
        "seconds": info.seconds,
        "predict_seconds": info.predict_seconds,
    }


def as_text(found: Comparison, refit: bool) -> str:
    """Return what a person wants to read; `refit` is whether runs were fitted again."""
    several, ranking = len(found.rows) > 1, _ranking(found)
    near = near_lines(found.best.info)
    lines = [
        f"{len(found.rows)} run{'s' if several else ''} on {found.dataset!r}: "
        f"{found.n} images, {found.protocol}",
        "",
        ranking,
        *_features(found),
        *([""] if near else []),
        *near,
    ]
    if several:
        lines += ["", *_verdicts(found), _flattery(found), "", *_explanation(found, ranking)]
    if found.refitted:
        again = ", ".join(f"{new} for {old}" for old, new in found.refitted.items())
        lines += ["", f"fitted again: {again}"]
    if found.left_out:
        rows = [[out.run.id, out.reason] for out in found.left_out]
        lines += ["", table(["left out", "because"], rows)]
        if not refit and not all(out.is_copy for out in found.left_out):
            lines.append(in_workspace("To compare them too: tlx compare --refit"))
    if not several:
        lines += ["", "There is nothing to compare it with yet."]
        other = "logreg" if found.best.info.model == "lda" else "lda"
        told = found.best.info.near_duplicates
        handling = (
            f" --near-duplicates {told.handling}" if told and told.handling == "group" else ""
        )
        return "\n".join([*lines, next_command(f"tlx fit-head --model {other}{handling}")])
    return "\n".join([*lines, "", next_command("tlx report")])


def _ranking(found: Comparison) -> str:
    header = ["run", METRIC_NAMES[found.metric], "95% interval", "difference", "95% interval"]
    header += ["p", "fit", "µs/image"]
    rows = []
    for place, row in enumerate(found.rows):
        metric, difference, info = row.metric, row.difference, row.run.info
        cells = [row.run.id, f"{metric.value:.4f}", f"{metric.low:.4f} to {metric.high:.4f}"]
        if place:
            cells += [
                f"{difference.value:+.4f}",
                f"{difference.low:+.4f} to {difference.high:+.4f}",
                p_text(difference.p_value),
            ]
        else:
            cells += ["best", "", ""]
        fast = info.predict_seconds
        cells += [f"{info.seconds:.1f} s", "" if fast is None else f"{1e6 * fast:.1f}"]
        rows.append(cells)
    return table(header, rows, optional=["µs/image", "fit"], best=0)


def _features(found: Comparison) -> list[str]:
    """Return what features each run has, where they are not the same."""
    rows = [[row.run.id, row.run.features] for row in found.rows]
    different = len({features for _, features in rows}) > 1
    return ["", table(["run", "features"], rows)] if different else []


def _verdicts(found: Comparison) -> list[str]:
    """Return what the differences mean, a sentence a verdict."""
    best = found.best.id
    rope = 100 * found.rope
    points = f"{rope:g} point{'' if rope == 1 else 's'}"
    margin = f"{found.rope:g}" if found.metric == "log_loss" else points
    sentences = {
        "worse": f"Worse than {best}, beyond chance",
        "equal": f"Equal to {best} in practice, within ±{margin}",
        "not known": f"Not known whether worse than {best} or equal to it",
    }
    lines = []
    for verdict, sentence in sentences.items():
        names = [_name(row) for row in found.rows if row.verdict == verdict]
        if names:
            lines += wrap(f"{sentence}: {', '.join(names)}.", 79, break_on_hyphens=False)
    return lines


def _flattery(found: Comparison) -> str:
    best, corrected = found.rows[0], found.best_corrected
    return choice_text(best.run.id, found.metric, best.metric, corrected, len(found.rows))


def _name(row: ComparedRun) -> str:
    needed = row.images_needed
    return row.run.id if needed is None else f"{row.run.id} ({needed:,} images would tell)"


def _explanation(found: Comparison, ranking: str) -> list[str]:
    exact = found.metric == "accuracy" and found.protocol.startswith("validation")
    test = "McNemar's exact test" if exact else "random signs of what images add"
    corrected = f", corrected for all {found.pairs} pairs (Holm)" if found.pairs > 1 else ""
    lines = wrap(f"p: {test} against the best{corrected}.", 79)
    if "µs/image" in ranking:
        lines.append("µs/image: the head alone, its embedding given.")
    return lines


def p_text(p: float) -> str:
    """Return a p-value with two significant digits.

    Examples
    --------
    >>> p_text(0.0341), p_text(1.0), p_text(3e-7)
    ('0.034', '1', '<0.001')
    """
    return "<0.001" if p < 0.001 else f"{p:.2g}"
