"""``tlx fit-head``: cached embeddings to a classifier with honest numbers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from textwrap import fill
from typing import TYPE_CHECKING, Annotated, Any

import typer

from .common import (
    DEFAULT_WORKSPACE,
    ClusterOption,
    DatasetOption,
    JsonOption,
    SeedOption,
    WorkspaceOption,
    emit,
    next_command,
    note,
    say,
)
from .heads import head_options
from .progress import progress
from .render import (
    choice_text,
    class_table,
    confusion_table,
    features_text,
    metric_rows,
    near_lines,
    percent,
    short_path,
    table,
)

if TYPE_CHECKING:
    from ..classify.corrected import SinceBefore
    from ..classify.fit import HeadsFit
    from ..classify.runs.run import Run


_FIRST_ONLY = "Metrics are means over all draws; what follows is of the first one."


def fit_head(
    context: typer.Context,
    model: Annotated[
        list[str] | None,
        typer.Option(
            help="Which head to fit: {heads}; several with "
            "commas or by repeating the option; all for every one but vote; auto for vote. By "
            "default logreg.",
        ),
    ] = None,
    dataset: DatasetOption = None,
    features: Annotated[
        str | None,
        typer.Option(
            help="A backbone, or the first digits of a fingerprint; several joined by + put their "
            "features side by side. NAME@mean-views: the mean over an image's augmented views. "
            "auto: the last layer, or other cached ones too where they help. By default those "
            "embedded last."
        ),
    ] = None,
    views: Annotated[
        int, typer.Option(min=0, help="Learn from so many augmented views of each image as well.")
    ] = 0,
    tta: Annotated[
        int,
        typer.Option(
            min=0,
            max=100,
            help="Test-time augmentation: score by the mean over so many augmented views of an "
            "image, as the run then predicts.",
        ),
    ] = 0,
    allow_missing: Annotated[
        bool,
        typer.Option("--allow-missing", help="Go on without images that have no features yet."),
    ] = False,
    folds: Annotated[
        int, typer.Option(help="Folds of cross-validation, if there is no validation split.")
    ] = 5,
    max_per_class: Annotated[
        int | None,
        typer.Option(metavar="K", help="Learn from K images a class, drawn at random (few-shot)."),
    ] = None,
    repeats: Annotated[
        int | None,
        typer.Option(
            min=1, max=1000, help="With --max-per-class: how often they are drawn. By default 5."
        ),
    ] = None,
    repeats_cv: Annotated[
        int | None,
        typer.Option(
            metavar="R",
            min=2,
            max=1000,
            help="Deal the folds anew R times and tell the means: less luck of the folds.",
        ),
    ] = None,
    near_duplicates: Annotated[
        str,
        typer.Option(
            help="group keeps near-duplicates of each other on one side, like copies of one file; "
            "ignore only tells how many are on both."
        ),
    ] = "ignore",
    cluster: ClusterOption = None,
    name: Annotated[
        str | None,
        typer.Option(help="Name of the run; of several heads the start of their names."),
    ] = None,
    seed: SeedOption = 0,
    workspace: WorkspaceOption = DEFAULT_WORKSPACE,
    as_json: JsonOption = False,
) -> None:
    """Fit classifiers on the cached embeddings, in seconds, and say what they are worth.

    Never opens an image. With a validation split it trains on train and scores on validation, else
    it uses nested cross-validation.
    """
    from ..classify.corrected import since_before
    from ..classify.fit import fit_head as fit
    from ..classify.fit import fit_heads

    options = {"max_per_class": max_per_class, "repeats": repeats, "repeats_cv": repeats_cv}
    given: dict[str, Any] = {k: v for k, v in options.items() if v is not None}
    given |= head_options(context)
    given |= {"dataset": dataset, "features": features, "views": views, "workspace": workspace}
    given |= {"tta": tta, "near_duplicates": near_duplicates}
    given |= {"allow_missing": allow_missing, "folds": folds, "seed": seed, "name": name}
    models = _models(model or ["logreg"])
    if "auto" in models:
        note("auto is vote, the mean of logreg and lda: as good as the better one, or nearly so.")
    if models == ["all"] or len(models) > 1:
        with progress("Fitting heads", counted=False) as show:
            fitted = fit_heads(models, progress=show, cluster=cluster, **given)
        befores = [since_before(run, workspace) for run in fitted.runs]
        emit(all_as_dict(fitted, befores)) if as_json else say(all_as_text(fitted, befores))
        for failed, error in fitted.failures.items():
            note(f"{failed} could not be fitted: {error}")
        return
    if cluster is not None:
        note("One head is fitted by this process alone: --cluster shares several.")
    with progress(f"Fitting {models[0]}", counted=False) as show:
        run = fit(models[0], progress=show, **given)
    before = since_before(run, workspace)
    emit(with_before(run, before)) if as_json else say(as_text(run, before))


def _models(values: list[str]) -> list[str]:
    models = list(dict.fromkeys(_split(values)))
    if not models:
        raise typer.BadParameter("no head is named.", param_hint="--model")
    if "all" in models and len(models) > 1:
        raise typer.BadParameter(
            "'all' has every head already: name it alone.", param_hint="--model"
        )
    return models


def _split(values: list[str]) -> list[str]:
    """Return what commas separate, without empty parts."""
    return [part.strip() for value in values for part in value.split(",") if part.strip()]


def with_before(run: Run, before: SinceBefore | None) -> dict[str, Any]:
    """Return the JSON object of a run, with what corrections changed since the run before."""
    return {**as_dict(run), "before": None if before is None else asdict(before)}


def all_as_dict(fitted: HeadsFit, befores: Sequence[SinceBefore | None]) -> dict[str, Any]:
    """Return the JSON object of several heads."""
    return {
        "runs": [with_before(*pair) for pair in zip(fitted.runs, befores, strict=True)],
        "failures": [{"model": m, "reason": str(e)} for m, e in fitted.failures.items()],
        "seconds": fitted.seconds,
        "best_corrected": asdict(fitted.best_corrected),
    }


def all_as_text(fitted: HeadsFit, befores: Sequence[SinceBefore | None] = ()) -> str:
    """Return the heads as a table, the best first, and where their runs are."""
    rows = []
    for run in fitted.runs:
        info = run.info
        accuracy, loss = run.metrics["accuracy"], run.metrics["log_loss"]
        interval = f"{accuracy.low:.4f} to {accuracy.high:.4f}"
        figures = [f"{accuracy.value:.4f}", interval, f"{loss.value:.4f}"]
        rows.append([info.model, *figures, f"{info.seconds:.1f} s", _parameters(run)])
    best = fitted.runs[0]
    header = ["head", "accuracy", "95% interval", "log loss", "time", "parameters"]
    protocols = {run.info.protocol for run in fitted.runs}
    lines = [
        f"{len(rows)} heads on {best.info.dataset!r}: {best.info.n} images "
        f"({', '.join(sorted(protocols))})",
        "",
        table(header, rows, best=0),
        "",
        *(line for before in befores if before for line in [before_text(before), ""]),
        *near_lines(best.info),
        *_flattery(fitted),
        *_chosen(fitted),
        *(f"run {run.id} in {run.folder}" for run in fitted.runs),
        *(f"{model} failed: {error.args[0]}" for model, error in fitted.failures.items()),
        "",
        f"{fitted.seconds:.1f} s for all heads",
        next_command("tlx report"),
    ]
    return "\n".join(lines)


def _views(run: Run) -> str:
    """Return over how many augmented views of an image a run averages; "" if it sees it once."""
    from ..classify.sources import mean_views

    views = max(map(mean_views, run.sources))
    return f"mean of {views} views" if views else ""


def _flattery(fitted: HeadsFit) -> list[str]:
    """Return by how much the best is flattered, if there was a choice."""
    if len(fitted.runs) < 2:
        return []
    best, corrected = fitted.runs[0], fitted.best_corrected
    accuracy = best.metrics["accuracy"]
    return [choice_text(best.id, "accuracy", accuracy, corrected, len(fitted.runs)), ""]


def _chosen(fitted: HeadsFit) -> list[str]:
    """Return what each head chose of features, if it had to."""
    choices = [(run.info.model, run.info.features_chosen) for run in fitted.runs]
    lines = [features_text(choice, of=model) for model, choice in choices if choice]
    return [*lines, ""] if lines else []


def _parameters(run: Run) -> str:
    """Return the parameters of a run in one phrase."""
    return ", ".join(
        f"{k} {v:.3g}" if isinstance(v, float) else f"{k} {v}"
        for k, v in run.info.params.items()
        if v is not None and v != [] and (k, v) != ("dropout", 0.0)
    )


def as_dict(run: Run) -> dict[str, Any]:
    """Return the JSON object of a run."""
    info = run.info
    return {
        "run": run.id,
        "classes": list(info.class_names),
        "model": info.model,
        "dataset": info.dataset,
        "protocol": info.protocol,
        "n": info.n,
        "metrics": {name: asdict(metric) for name, metric in info.metrics.items()},
        "confusion": info.confusion,
        "per_class": [asdict(report) for report in run.per_class()],
        "params": info.params,
        "features": run.features,
        "features_chosen": info.features_chosen,
        "near_duplicates": info.near_duplicates and asdict(info.near_duplicates),
        "seconds": info.seconds,
    }


def before_text(before: SinceBefore) -> str:
    """Return what corrections changed since the run before, in a sentence or two."""
    labels = f"{before.corrected} label{'s' * (before.corrected != 1)} corrected"
    images = f"{before.left_out} image{'s' * (before.left_out != 1)} left out"
    what = " and ".join([labels] * bool(before.corrected) + [images] * bool(before.left_out))
    gain = before.difference
    points = f"{100 * gain.value:+.1f} points, {100 * gain.low:.1f} to {100 * gain.high:.1f}"
    return fill(
        f"Since {before.run}: {what}. Accuracy on the {before.n} images that both were scored on, "
        f"with the labels of now: {before.before:.4f} -> {before.now:.4f} ({points}).",
        80,
    )


def as_text(run: Run, before: SinceBefore | None = None) -> str:
    """Return what a person wants to read."""
    info = run.info
    how = ", ".join(filter(None, [info.protocol, _parameters(run), _views(run)]))
    right = percent(info.metrics["accuracy"].value)
    first = f"{info.model} on {info.dataset!r}: {right} of {info.n} images right ({how})"
    lines = [
        fill(first, 80, break_on_hyphens=False, break_long_words=False),
        "",
        table(["metric", "value", "95% interval"], metric_rows(info.metrics)),
        *who_was_scored(run),
        features_text(info.features_chosen)
        if info.features_chosen
        else fill(f"Features: {run.features}.", 80),
        *([_FIRST_ONLY] if info.recipe and info.recipe.draws > 1 else []),
        *near_lines(info),
        *([before_text(before)] if before else []),
        "",
        class_table(run.per_class()),
        "",
        confusion_table(info.confusion, run.class_names),
    ]
    wrong = most_confidently_wrong(run)
    if wrong:
        lines += ["", table(["most confidently wrong", "is", "taken for", "confidence"], wrong)]
    lines += [
        "",
        f"run {run.id} in {run.folder} ({info.seconds:.1f} s)",
        next_command("tlx report"),
    ]
    return "\n".join(lines)


def who_was_scored(run: Run) -> list[str]:
    """Return a line that says of whom the figures of cross-validation tell; no line of others."""
    recipe = run.info.recipe
    if recipe is None or recipe.few_shot or "-fold" not in run.info.protocol:
        return []
    part = f"{recipe.folds - 1}/{recipe.folds}"
    return [f"Scored heads learned from {part} of the images, the kept one from all of them."]


def most_confidently_wrong(run: Run, n: int = 5) -> list[list[str]]:
    """Return (path, true class, predicted class, confidence) of the worst errors."""
    from ..cache.manifest import file_of

    scored = run.predictions()
    proba, label = scored.probabilities, scored.label
    predicted = proba.argmax(axis=1)
    confidence = proba.max(axis=1)
    wrong = (predicted != label).nonzero()[0]
    worst = wrong[confidence[wrong].argsort()[::-1][:n]]
    names = run.class_names
    return [
        [
            short_path(file_of(run.info.root, scored.path[i])),
            names[label[i]],
            names[predicted[i]],
            f"{confidence[i]:.3f}",
        ]
        for i in worst
    ]
