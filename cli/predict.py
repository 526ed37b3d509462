"""``tlx predict``: raw images to labels with probabilities."""

from __future__ import annotations

import csv
import io
import json
import os
import sys
import textwrap
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..errors import DataError
from .common import (
    DEFAULT_WORKSPACE,
    EngineOption,
    JsonOption,
    StorageOption,
    TrustOption,
    WorkspaceOption,
    emit,
    note,
    printable,
    say,
)
from .progress import progress
from .render import counts, percent, table

if TYPE_CHECKING:
    from ..classify.decision import Decision
    from ..classify.opened import Prediction
    from ..classify.runs.run import Run
    from ..classify.scoring.calibrate import Rejection
    from ..classify.strangers import Neighbours

_REASONS = 5  # that are told apart
_SHARES = 8  # classes whose shares are told


def predict(
    run: Annotated[
        str,
        typer.Argument(
            metavar="RUN",
            help="Id of a run, path of its folder, or 'best' (see tlx evaluate); or the file "
            "of an exported network with its predictor.json.",
        ),
    ],
    paths: Annotated[
        list[str],
        typer.Argument(
            metavar="PATH",
            help="Images, folders or archives of them, URLs, or '-' for a list on standard input.",
        ),
    ],
    output: Annotated[
        Path | None, typer.Option(help="Write the predictions to this .csv or .json file.")
    ] = None,
    tta: Annotated[
        int | None,
        typer.Option(
            min=0,
            max=100,
            help="Test-time augmentation: average over so many augmented views as well. By "
            "default as many as the run was scored with: tlx fit-head --tta.",
        ),
    ] = None,
    reject: Annotated[
        float | None,
        typer.Option(
            metavar="ERROR",
            help="Say 'unknown' where the run is too little sure, so that at most this share "
            "of the other predictions is wrong: 0.01, say. So it says of images that are like "
            "nothing it learned from.",
        ),
    ] = None,
    prior: Annotated[
        str | None,
        typer.Option(
            metavar="SHARES",
            help="How frequent the classes are among such images, if not as where the run learned: "
            "cats=0.05 (the others share what is left), or auto to estimate it from them.",
        ),
    ] = None,
    cost: Annotated[
        str | None,
        typer.Option(
            metavar="COSTS",
            help="Choose what costs least: fp=1,fn=20 with --positive, or the CSV file of a matrix "
            "(true classes by predicted ones; a column 'unknown' is what it costs to look).",
        ),
    ] = None,
    positive: Annotated[
        str | None,
        typer.Option(
            metavar="CLASS",
            help="The class of which fp are false alarms and fn those that are missed.",
        ),
    ] = None,
    engine: EngineOption = "auto",
    trust: TrustOption = None,
    storage: StorageOption = None,
    workspace: WorkspaceOption = DEFAULT_WORKSPACE,
    as_json: JsonOption = False,
) -> None:
    """Predict the class of images with a run.

    An image that cannot be read becomes a row with its reason. Exits with 1 if nothing could be
    predicted.
    """
    from ..classify.decision import make_decision
    from ..classify.opened import predictions_dict
    from ..classify.predict import check_request, find_images, label_images
    from ..classify.runs.best import load_run

    if output is not None and output.suffix.lower() not in (".csv", ".json"):
        raise DataError(f"--output {output} is neither .csv nor .json.", "Name it labels.csv, say.")
    files = _expand(paths)
    if Path(run).suffix and os.path.isfile(run):  # a run is a name or a folder
        others = {"tta": tta, "prior": prior, "cost": cost, "positive": positive, "trust": trust}
        others["engine"] = None if engine == "auto" else engine
        _predict_exported(run, files, output, reject, as_json, others)
        return
    loaded = load_run(run, workspace, trusted=trust)
    note(f"Using {loaded.describe()}.")
    files = find_images(files)
    check_request(loaded, files, tta, reject, prior)
    decision = make_decision(loaded, reject=reject, prior=prior, cost=cost, positive=positive)
    with progress("Predicting") as show:
        found, decision = label_images(
            loaded, files, decision, workspace=workspace, tta=tta, engine=engine, progress=show
        )
    result = predictions_dict(loaded, found, decision)
    if prior is not None:
        result["prior"] = prior_dict(decision)
        note(prior_text(decision))
    if decision.rejection is not None:
        note(rejection_text(decision.rejection, found))
        if decision.neighbours is None:
            note(not_looked_text(loaded))
    elif decision.neighbours is not None and (told := strangers_text(decision.neighbours, found)):
        note(told)
    if decision.costs is not None:
        result["cost"] = cost_dict(decision, found)
        note(cost_text(result["cost"]))
    _tell(
        found,
        result,
        loaded.class_names,
        output,
        as_json,
        rejection=decision.rejection,
        costs=decision.costs is not None,
        strangers=reject is not None,
    )


def _predict_exported(
    path: str,
    paths: list[str],
    output: Path | None,
    reject: float | None,
    as_json: bool,
    not_for_files: dict[str, object],
) -> None:
    """Predict with an exported network, which knows no more than ``predictor.json`` says."""
    from ..deploy.exported import open_exported

    given = [f"--{name}" for name, value in not_for_files.items() if value is not None]
    if given:
        raise DataError(
            f"{path} is an exported network: {given[0]} needs the run that it was made of.",
            "Leave it out, or name the run.",
        )
    exported = open_exported(path)
    note(printable(f"Using {exported.path}: {exported.describe()}."))
    with progress("Predicting") as show:
        found = exported.predict(paths, reject=reject, progress=show)
    if reject is not None:
        note("An exported network does not tell images of something else; its run does.")
    told = exported.predictor
    result = {"run": told.run, "file": path, "predictions": [asdict(row) for row in found]}
    _tell(found, result, told.class_names, output, as_json)


def _tell(
    found: list[Prediction],
    result: dict[str, Any],
    class_names: tuple[str, ...],
    output: Path | None,
    as_json: bool,
    *,
    rejection: Rejection | None = None,
    costs: bool = False,
    strangers: bool = False,
) -> None:
    """Write and print what was predicted; end with 1 if nothing could be."""
    from ..cache.files import write_output

    if output is not None:
        text = (
            to_csv(found, class_names, costs=costs, strangers=strangers)
            if output.suffix.lower() == ".csv"
            else json.dumps(result, indent=1)
        )
        write_output(output, text.encode("utf-8", "surrogateescape"))
    if as_json:
        emit(result)
    elif output is None:
        say(as_text(found, rejection) + "\n")
    tell = note if as_json or output is not None else say
    tell(summary_text(found) + (f", written to {output}" if output is not None else ""))
    if any(row.error for row in found):
        note(failures_text(found))
    if all(row.error for row in found):
        raise typer.Exit(1)


def as_text(found: list[Prediction], chosen: Rejection | None = None) -> str:
    """Return the predictions as a table; strangers that were rejected say that they are."""
    rows = [
        [row.path, row.label or "-", "-" if row.confidence is None else f"{row.confidence:.3f}"]
        for row in found
    ]
    head = ["path", "label", "confidence"]
    for cells, row in zip(rows, found, strict=True):
        if chosen is not None and _is_stranger(row, chosen.strangers):
            cells[1] += ": like nothing it learned from"
    if any(row.error for row in found):
        head.append("error")
        for cells, row in zip(rows, found, strict=True):
            cells.append(row.error)
    return table(head, rows)


def _is_stranger(row: Prediction, level: float | None) -> bool:
    return level is not None and row.stranger is not None and row.stranger <= level


def summary_text(found: list[Prediction]) -> str:
    """Return how many images were predicted, and how many as what."""
    from ..classify.predict import count_labels

    good = sum(not row.error for row in found)
    by_label = f": {counts(count_labels(found))}" if good else ""
    return f"{good} prediction{'' if good == 1 else 's'}{by_label}"


def failures_text(found: list[Prediction]) -> str:
    """Return how many paths could not be predicted, by reason, with the first of each."""
    by_reason: dict[str, list[str]] = {}
    for row in found:
        if row.error:
            by_reason.setdefault(row.error, []).append(row.path)
    failed = sum(map(len, by_reason.values()))
    rows = [[len(paths), reason, paths[0]] for reason, paths in by_reason.items()]
    shown = sorted(rows, key=lambda row: -len(by_reason[str(row[1])]))[:_REASONS]
    left = f"\n… and {len(rows) - _REASONS} other reasons" if len(rows) > _REASONS else ""
    return (
        f"{failed} of {len(found)} could not be predicted:\n"
        + table(["images", "reason", "the first"], shown)
        + left
    )


def rejection_text(chosen: Rejection, found: list[Prediction]) -> str:
    """Return what was rejected, and what is promised of the rest."""
    from ..classify.scoring.calibrate import UNKNOWN

    rejected = [row for row in found if row.label == UNKNOWN]
    strange = sum(_is_stranger(row, chosen.strangers) for row in rejected)
    unsure = len(rejected) - strange
    who = f"{strange} {'is' if strange == 1 else 'are'}" if unsure else "they are"
    reasons = [f"{who} like nothing the run learned from"] if strange else []
    if unsure or not strange:
        whose = f"the confidence of {unsure}" if strange else "their confidence"
        reasons.append(f"{whose} is below {chosen.threshold:.3f}")
    n = sum(not row.error for row in found)
    first = f"{len(rejected)} of {n} predictions are {UNKNOWN!r}: {', '.join(reasons)}. "
    if not rejected:
        first = f"No prediction is {UNKNOWN!r}: no confidence is below {chosen.threshold:.3f}. "
    text = (
        f"{first}"
        f"Of the images that the run was scored on, {percent(chosen.coverage)} are accepted, and "
        f"{percent(chosen.observed)} of those are wrong (with 95% confidence at most "
        f"{percent(chosen.bound)})."
    )
    if chosen.strangers is not None:
        text += f" Of images like those, {percent(chosen.strangers)} are taken for strangers."
    return textwrap.fill(text, 80)


def strangers_text(neighbours: Neighbours, found: list[Prediction]) -> str:
    """Return that many images are strangers; "" if there are no more than chance brings."""
    looked = [row for row in found if row.stranger is not None]
    strange = sum(_is_stranger(row, neighbours.level) for row in looked)
    usual = neighbours.level * len(looked)
    if strange <= usual + 3 * usual**0.5:
        return ""
    text = (
        f"{strange} of {len(found)} images {'is' if strange == 1 else 'are'} like nothing this run "
        "learned from: --reject 0.05 names them."
    )
    return textwrap.fill(text, 80)


def not_looked_text(run: Run) -> str:
    """Return why a rejection does not look for images that are like nothing the run knows."""
    why = (
        "its network gives images other embeddings than those kept."
        if run.info.finetune is not None
        else "an older tlx fitted it. To have them looked for, fit it again."
    )
    return textwrap.fill(f"Run {run.id} does not tell images of something else: {why}", 80)


def prior_dict(decision: Decision) -> dict[str, Any]:
    """Return what was made of the prevalence as a JSON object; shares by class."""

    def by_class(values: Any) -> dict[str, float]:
        return dict(zip(decision.class_names, map(float, values), strict=True))

    told: dict[str, Any] = {"learned": by_class(decision.learned)}
    told["used"] = by_class(decision.learned if decision.prior is None else decision.prior)
    found = decision.estimate
    if found is not None:
        told["estimate"] = {
            name: {"value": value, "low": low, "high": high}
            for name, value, low, high in zip(
                decision.class_names,
                *(column.tolist() for column in (found.share, found.low, found.high)),
                strict=True,
            )
        }
        told |= {"p_value": found.p_value, "n": found.n}
    return {**told, "applied": decision.prior is not None, "reason": decision.too_little}


def prior_text(decision: Decision) -> str:
    """Return how frequent the classes were taken to be, and why."""
    if decision.too_little:
        return textwrap.fill(f"The prevalence was not estimated: {decision.too_little}.", 80)
    found = decision.estimate
    shares = decision.prior if found is None else found.share
    assert shares is not None
    rows = []
    for c, name in enumerate(decision.class_names):
        row = [name, percent(decision.learned[c]), percent(shares[c])]
        if found is not None:
            row.append(f"{percent(found.low[c])} to {percent(found.high[c])}")
        rows.append((abs(shares[c] - decision.learned[c]), row))
    rows.sort(key=lambda pair: -pair[0])
    shown = [row for _, row in rows[:_SHARES]]
    left = f"\n… and {len(rows) - _SHARES} classes that moved less" if len(rows) > _SHARES else ""
    if found is None:
        return table(["class", "learned", "stated"], shown) + left
    chance = f"p {found.p_value:.3f}" if found.p_value >= 0.001 else "p below 0.001"
    verdict = (
        f"The prevalence moved beyond chance ({chance}): the estimate is used."
        if found.moved
        else f"The prevalence did not move beyond chance ({chance}): the estimate is not used."
    )
    return table(["class", "learned", "estimated", "95% interval"], shown) + f"{left}\n{verdict}"


def cost_dict(decision: Decision, found: list[Prediction]) -> dict[str, Any]:
    """Return the expected costs a prediction: as chosen, and of the most probable classes."""
    costs = decision.costs
    assert costs is not None
    rows = [row for row in found if row.probabilities]
    chosen = [row.expected_cost or 0.0 for row in rows]
    likely = []
    for row in rows:
        p = [*(row.probabilities or {}).values()]
        likely.append(float(costs.expected(p)[p.index(max(p))]))
    n = max(len(rows), 1)
    return {"expected": sum(chosen) / n, "expected_of_most_probable": sum(likely) / n}


def cost_text(told: dict[str, Any]) -> str:
    """Return what the labels are expected to cost, beside those of the greatest probability."""
    text = (
        f"Expected cost an image: {told['expected']:.4g}; with the most probable classes it would "
        f"be {told['expected_of_most_probable']:.4g}."
    )
    return textwrap.fill(text, 80)


def to_csv(
    found: list[Prediction],
    class_names: tuple[str, ...],
    *,
    costs: bool = False,
    strangers: bool = False,
) -> str:
    """Return the predictions as CSV: path, label, confidence, error, and a column a class.

    With `costs` there is one more, ``expected_cost``, before the classes; with `strangers`
    ``stranger``.
    """
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    added = ["expected_cost"] * costs + ["stranger"] * strangers
    writer.writerow(["path", "label", "confidence", "error", *added, *class_names])
    for row in found:
        probabilities = row.probabilities or {}
        more = [row.expected_cost] * costs + [row.stranger] * strangers
        writer.writerow(
            [
                row.path,
                row.label or "",
                "" if row.confidence is None else f"{row.confidence:.6f}",
                row.error,
                *("" if value is None else f"{value:.6g}" for value in more),
                *(f"{probabilities[c]:.6f}" if probabilities else "" for c in class_names),
            ]
        )
    return buffer.getvalue()


def _expand(paths: list[str]) -> list[str]:
    """Replace ``-`` by the paths on standard input."""
    expanded: list[str] = []
    for path in paths:
        expanded += read_list(sys.stdin.buffer.read()) if path == "-" else [path]
    if not expanded and "-" in paths:
        raise DataError(
            "the list on standard input is empty: there are no images to predict.",
            "Give it one path a line, or NUL-separated ones as of find -print0.",
        )
    return expanded


def read_list(data: bytes) -> list[str]:
    r"""Return the paths in a list: separated by NUL characters if it has any, else by line ends.

    Names need not be UTF-8.

    Examples
    --------
    >>> read_list(b"a.png\0b\n.png\0"), read_list(b"a.png\r\nb.png\r\n")
    (['a.png', 'b\n.png'], ['a.png', 'b.png'])
    """
    names = data.split(b"\0") if b"\0" in data else [n.rstrip(b"\r") for n in data.split(b"\n")]
    return [os.fsdecode(name) for name in names if name]
