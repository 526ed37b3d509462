"""``tlx fit-head``: cached embeddings to a classifier with honest numbers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from .common import (
    DEFAULT_WORKSPACE,
    DatasetOption,
    JsonOption,
    SeedOption,
    WorkspaceOption,
    emit,
    say,
)
from .render import confusion_table, metric_rows, percent, table

if TYPE_CHECKING:
    from ..classify.runs import Run


def fit_head(
    model: Annotated[str, typer.Option(help="Which head to fit: logreg.")] = "logreg",
    dataset: DatasetOption = None,
    folds: Annotated[
        int, typer.Option(help="Folds of cross-validation, if there is no validation split.")
    ] = 5,
    seed: SeedOption = 0,
    workspace: WorkspaceOption = DEFAULT_WORKSPACE,
    as_json: JsonOption = False,
) -> None:
    """Fit a classifier on the cached embeddings, in seconds, and say what it is worth.

    Never opens an image. With a validation split it trains on train and scores on validation, else
    it uses nested cross-validation.
    """
    from ..classify.fit import fit_head as fit

    run = fit(model, dataset=dataset, workspace=workspace, folds=folds, seed=seed)
    emit(as_dict(run)) if as_json else say(as_text(run))


def as_dict(run: Run) -> dict[str, Any]:
    """Return the JSON object of a run."""
    keys = ("model", "dataset", "protocol", "n", "metrics", "confusion", "params", "seconds")
    values = {key: run.info[key] for key in keys}
    return {"run": run.id, "classes": run.info["class_names"], **values}


def as_text(run: Run) -> str:
    """Return what a person wants to read."""
    info = run.info
    params = ", ".join(
        f"{k} {v:.3g}" if isinstance(v, float) else f"{k} {v}" for k, v in info["params"].items()
    )
    lines = [
        f"{info['model']} on {info['dataset']!r}: {percent(info['metrics']['accuracy']['value'])} "
        f"of {info['n']} images right ({info['protocol']}, {params})",
        "",
        table(["metric", "value", "95% interval"], metric_rows(info["metrics"])),
        "",
        confusion_table(info["confusion"], run.class_names),
    ]
    wrong = most_confidently_wrong(run)
    if wrong:
        lines += ["", table(["most confidently wrong", "is", "taken for", "confidence"], wrong)]
    lines += [
        "",
        f"run {run.id} in {run.folder} ({info['seconds']:.1f} s)",
        f"Next: tlx predict {run.id} PHOTO.jpg",
    ]
    return "\n".join(lines)


def most_confidently_wrong(run: Run, n: int = 5) -> list[list[str]]:
    """Return (path, true class, predicted class, confidence) of the worst errors."""
    import os

    scored = run.predictions()
    proba, label = scored["probabilities"], scored["label"]
    predicted = proba.argmax(axis=1)
    confidence = proba.max(axis=1)
    wrong = (predicted != label).nonzero()[0]
    worst = wrong[confidence[wrong].argsort()[::-1][:n]]
    names = run.class_names
    return [
        [
            os.path.join(run.info["root"], scored["path"][i]),
            names[label[i]],
            names[predicted[i]],
            f"{confidence[i]:.3f}",
        ]
        for i in worst
    ]
