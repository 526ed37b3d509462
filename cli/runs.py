"""``tlx runs``: list and show what was fitted."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer

from .common import (
    DEFAULT_WORKSPACE,
    MANNERS,
    JsonOption,
    RunArgument,
    WorkspaceOption,
    emit,
    next_command,
    note,
    say,
)
from .fit_head import as_dict, as_text
from .render import choice_text, local_minute, table
from .shell import Command, Group

if TYPE_CHECKING:
    from ..classify.runs.run import Run


def list_all(
    context: typer.Context,
    workspace: WorkspaceOption = DEFAULT_WORKSPACE,
    as_json: JsonOption = False,
) -> None:
    """List the runs of the workspace."""
    if context.invoked_subcommand is not None:
        return
    from ..classify.runs.store import list_runs
    from ..workspace import Workspace

    found = list_runs(Workspace(workspace))
    emit({"runs": [summary(run) for run in found]}) if as_json else say(list_text(found))


def show(
    run: RunArgument,
    workspace: WorkspaceOption = DEFAULT_WORKSPACE,
    as_json: JsonOption = False,
) -> None:
    """Show the numbers of one run."""
    from ..classify.runs.best import load_run

    loaded = load_run(run, workspace)
    told = as_dict(loaded)
    if run != "best":
        emit(told) if as_json else say(as_text(loaded))
        return
    from ..classify.compare import correct_run

    corrected, among = correct_run(loaded, workspace)
    if as_json:
        emit({**told, "best_corrected": asdict(corrected), "chosen_among": among})
        return
    say(as_text(loaded))
    if among > 1:
        accuracy = loaded.metrics["accuracy"]
        note(choice_text(loaded.id, "accuracy", accuracy, corrected, among, by="log_loss"))


def remove(
    run: Annotated[list[str], typer.Argument(metavar="RUN", help="Ids of runs.")],
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would go.")] = False,
    workspace: WorkspaceOption = DEFAULT_WORKSPACE,
    as_json: JsonOption = False,
) -> None:
    """Remove runs for good. Cached embeddings stay."""
    from ..classify.runs.store import remove_runs
    from ..workspace import Workspace

    gone = remove_runs(Workspace(workspace), run, dry_run=dry_run)
    if as_json:
        emit({"removed": gone, "dry_run": dry_run})
    else:
        say(f"{'would remove' if dry_run else 'removed'} {', '.join(gone)}")


def summary(run: Run) -> dict[str, Any]:
    """Return the JSON object of a run in a list."""
    return {
        "run": run.id,
        "model": run.info.model,
        "created": run.info.created,
        "dataset": run.info.dataset,
        "features": run.features,
        "metrics": {name: asdict(metric) for name, metric in run.metrics.items()},
    }


def list_text(runs: list[Run]) -> str:
    """Return the runs as a table."""
    if not runs:
        first = next_command("tlx fit-head --model logreg,lda")
        return f"No runs in {MANNERS.workspace.absolute()} yet. {first}"
    rows = []
    for run in runs:
        accuracy = run.metrics["accuracy"]
        interval = f"{accuracy.low:.4f} to {accuracy.high:.4f}"
        row = [run.id, run.info.model, run.info.dataset, run.info.protocol]
        rows.append([*row, f"{accuracy.value:.4f}", interval, local_minute(run.info.created)])
    header = ["run", "model", "data set", "protocol", "accuracy", "95% interval", "created"]
    features = [run.features for run in runs]
    if len(set(features)) > 1:
        header.append("features")
        rows = [[*row, shown] for row, shown in zip(rows, features, strict=True)]
    return table(header, rows, optional=["protocol", "model"])


app = typer.Typer(
    cls=Group,
    invoke_without_command=True,
    add_completion=False,
    rich_markup_mode=None,
    help="List, show and remove runs.",
)
app.callback()(list_all)
app.command("rm", cls=Command, epilog="Example: tlx runs rm logreg-1 --dry-run")(remove)
app.command("show", cls=Command, epilog="Example: tlx runs show logreg-1")(show)
