"""``tlx cache``: look after the cached features."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from .common import (
    DEFAULT_WORKSPACE,
    MANNERS,
    DatasetOption,
    JsonOption,
    WorkspaceOption,
    emit,
    in_workspace,
    next_command,
    say,
)
from .progress import progress
from .render import table
from .shell import Command, Group

if TYPE_CHECKING:
    from ..cache.export import Exported
    from ..cache.maintain import Change, SpecReport
    from ..upkeep import Merged

SpecOption = Annotated[
    str | None,
    typer.Option("--spec", help="A backbone's name, or the first digits of a fingerprint."),
]


def info(workspace: WorkspaceOption = DEFAULT_WORKSPACE, as_json: JsonOption = False) -> None:
    """Show which features are cached and how much room they take."""
    from ..upkeep import cache_info, gathered_bytes
    from ..workspace import Workspace

    specs, gathered = cache_info(Workspace(workspace)), gathered_bytes(Workspace(workspace))
    if as_json:
        emit({"specs": [asdict(spec) for spec in specs], "gathered_bytes": gathered})
    else:
        say("\n".join([info_text(specs), *gathered_lines(gathered)]))


def verify(workspace: WorkspaceOption = DEFAULT_WORKSPACE, as_json: JsonOption = False) -> None:
    """Read and check every byte of the cache, and change nothing.

    Exits with 1 if anything is wrong.
    """
    from ..upkeep import verify_cache
    from ..workspace import Workspace

    with progress("Reading files") as show:
        found = verify_cache(Workspace(workspace), show)
    if as_json:
        emit({"specs": [asdict(spec) for spec in found.specs], "manifests": found.manifests})
    else:
        say(verify_text(found.specs, found.manifests))
    if not found.ok:
        raise typer.Exit(1)


def compact(
    spec: SpecOption = None,
    workspace: WorkspaceOption = DEFAULT_WORKSPACE,
    as_json: JsonOption = False,
) -> None:
    """Merge small files of features into few, each image once, and set damaged ones aside.

    Safe while other processes embed and read.
    """
    from ..upkeep import compact_cache
    from ..workspace import Workspace

    with progress("Merging files") as show:
        changes = compact_cache(Workspace(workspace), spec, show)
    emit({"specs": [asdict(c) for c in changes]}) if as_json else say(compact_text(changes))


def prune(
    spec: Annotated[
        str | None,
        typer.Option(
            "--spec",
            help="Drop all features of this backbone, or of the spec whose fingerprint begins "
            "with these digits, instead of those that no data set names.",
        ),
    ] = None,
    force: Annotated[
        bool, typer.Option("--force", help="Drop also what a run was fitted or scored on.")
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only show what would be dropped.")
    ] = False,
    workspace: WorkspaceOption = DEFAULT_WORKSPACE,
    as_json: JsonOption = False,
) -> None:
    """Drop the features of images that no data set and no run names any more."""
    from ..upkeep import prune_cache, prune_gathered
    from ..workspace import Workspace

    gathered = prune_gathered(Workspace(workspace), dry_run=dry_run)
    changes = prune_cache(Workspace(workspace), spec, force=force, dry_run=dry_run)
    if as_json:
        told = [asdict(change) for change in changes]
        emit({"dry_run": dry_run, "specs": told, "gathered_bytes": gathered})
    else:
        say("\n".join([prune_text(changes, dry_run), *gathered_lines(gathered)]))


def merge(
    other: Annotated[
        Path, typer.Argument(metavar="OTHER", help="Another workspace, such as laptop/.tlx.")
    ],
    workspace: WorkspaceOption = DEFAULT_WORKSPACE,
    as_json: JsonOption = False,
) -> None:
    """Take in the features and data sets of another workspace, checking every file.

    The other workspace is only read. Exits with 1 if a file of it was refused.
    """
    from ..upkeep import merge_workspace
    from ..workspace import Workspace

    with progress("Checking files") as show:
        merged = merge_workspace(Workspace(workspace), Workspace(other), show)
    emit(asdict(merged)) if as_json else say(merge_text(merged))
    if merged.problems:
        raise typer.Exit(1)


def export(
    file: Annotated[
        Path, typer.Argument(metavar="FILE", help="The file to write, such as features.h5.")
    ],
    format: Annotated[
        Literal["hdf5", "parquet"],
        typer.Option(help="Parquet is for pandas, DuckDB and others; it needs an extra."),
    ] = "hdf5",
    run: Annotated[
        str | None,
        typer.Option(
            metavar="RUN",
            help="With Parquet: add what this run, or 'best', said of images held out.",
        ),
    ] = None,
    dataset: DatasetOption = None,
    spec: SpecOption = None,
    workspace: WorkspaceOption = DEFAULT_WORKSPACE,
    as_json: JsonOption = False,
) -> None:
    """Write the features of a data set as one plain HDF5 or Parquet file.

    It holds features, path, label and split, for h5py, MATLAB, Julia, pandas, DuckDB and others.
    """
    from ..classify.export import export_features
    from ..workspace import Workspace

    done = export_features(Workspace(workspace), file, dataset, spec, format=format, run=run)
    emit(asdict(done)) if as_json else say(export_text(done))


def nothing_cached() -> str:
    """Return that there is nothing yet, where, and what to do."""
    return (
        f"Nothing is cached in {MANNERS.workspace.absolute()} yet. {next_command('tlx embed DATA')}"
    )


def info_text(specs: list[SpecReport]) -> str:
    """Return what a person wants to know of the cache."""
    if not specs:
        return nothing_cached()
    rows = [[_name(s), s.fingerprint[:12], s.images, s.shards, size(s.bytes)] for s in specs]
    lines = [table(["spec", "fingerprint", "images", "shards", "size"], rows)]
    problems = [problem for spec in specs for problem in spec.problems]
    return "\n".join(lines + (["", *problems] if problems else []))


def gathered_lines(nbytes: int) -> list[str]:
    """Return what is to be said of features that were gathered for heads, if there are any."""
    told = f"Beside these: {size(nbytes)} gathered for heads, which prune drops and fit-head makes."
    return ["", told] if nbytes else []


def verify_text(specs: list[SpecReport], manifests: list[str]) -> str:
    """Return the list of what is wrong, or that nothing is."""
    problems = [problem for spec in specs for problem in spec.problems] + manifests
    features, total = sum(spec.images for spec in specs), sum(spec.bytes for spec in specs)
    read = f"{_number(features, 'feature')} of {_number(len(specs), 'spec')}, {size(total)}"
    if not problems:
        return f"All is well: read and checked {read}."
    return "\n".join(
        [
            *problems,
            "",
            f"{_number(len(problems), 'problem')}; the rest is good: {read}.",
            in_workspace(
                "Run tlx cache compact, which sets damaged files aside, then tlx embed again: it "
                "embeds only what is missing."
            ),
        ]
    )


def compact_text(changes: list[Change]) -> str:
    """Return what was merged."""
    rows = [[_name(c), c.images, f"{c.shards_before} -> {c.shards}", _sizes(c)] for c in changes]
    if not rows:
        return nothing_cached()
    problems = [f"set aside: {problem}" for change in changes for problem in change.problems]
    more = ["", *problems, in_workspace("Run tlx embed again: it embeds only what is missing.")]
    return "\n".join(
        [table(["spec", "images", "shards", "size"], rows), *(more if problems else [])]
    )


def prune_text(changes: list[Change], dry_run: bool) -> str:
    """Return what was, or would be, dropped."""
    rows = [
        [_name(c), c.fingerprint[:12], c.images_before - c.images, c.images, c.kept_for_runs]
        for c in changes
    ]
    if not rows:
        return nothing_cached()
    header = [
        "spec",
        "fingerprint",
        "would drop" if dry_run else "dropped",
        "kept",
        "only for runs",
    ]
    lines = [table(header, rows)]
    if any(change.kept_for_runs for change in changes):
        lines += ["", "What runs were fitted or scored on is kept; --force drops it, too."]
    return "\n".join(lines)


def merge_text(merged: Merged) -> str:
    """Return what came in."""
    new = sum(merged.images.values())
    lines = [f"{_number(new, 'new feature')} of {_number(len(merged.images), 'spec')}"]
    if not new:
        lines = ["no new features" + ("" if merged.problems else ": all are here already")]
    if merged.datasets:
        lines.append(f"new data sets: {', '.join(merged.datasets)} (choose one with --dataset)")
    if merged.parts:
        told = f"{_number(merged.parts, 'part')} of data sets; after the last: tlx embed DATA"
        lines.append(in_workspace(told))
    if merged.left_out:
        lines.append(f"here already, left as they are: {', '.join(merged.left_out)}")
    if merged.corrections:
        of = ", ".join(f"{name} {n}" for name, n in merged.corrections.items())
        lines.append(f"new corrections of labels: {of}")
    return "\n".join(lines + [f"refused: {problem}" for problem in merged.problems])


def export_text(done: Exported) -> str:
    """Return what the file holds."""
    shape = " x ".join(map(str, (done.images, *done.shape)))
    return f"{shape} features of {done.dataset!r} in {done.path}"


def size(n: int) -> str:
    """Return a number of bytes for people.

    Examples
    --------
    >>> size(3_500_000)
    '3.5 MB'
    """
    for unit, factor in (("GB", 10**9), ("MB", 10**6), ("kB", 10**3)):
        if n >= factor:
            return f"{n / factor:.1f} {unit}"
    return f"{n} B"


def _number(n: int, noun: str) -> str:
    """Return a count with its noun.

    Examples
    --------
    >>> _number(1, "spec"), _number(2, "spec")
    ('1 spec', '2 specs')
    """
    return f"{n} {noun}" if n == 1 else f"{n} {noun}s"


def _sizes(change: Change) -> str:
    return f"{size(change.bytes_before)} -> {size(change.bytes)}"


def _name(report: Any) -> str:
    """Return one short line for a spec, also of one that this tlx does not know."""
    from ..cache.spec import FeatureSpec

    try:
        return FeatureSpec(**report.spec).describe()
    except TypeError:
        return str(report.spec.get("backbone", "unknown"))


app = typer.Typer(
    cls=Group,
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    help="Look after the cached features.",
)


@app.callback()
def _group(
    workspace: WorkspaceOption = DEFAULT_WORKSPACE,
    as_json: JsonOption = False,
) -> None:
    pass


for _function, _example in (
    (info, "tlx cache info"),
    (verify, "tlx cache verify"),
    (compact, "tlx cache compact"),
    (prune, "tlx cache prune --dry-run"),
    (merge, "tlx cache merge laptop/.tlx"),
    (export, "tlx cache export features.parquet --format parquet --run best"),
):
    app.command(_function.__name__, cls=Command, epilog=f"Example: {_example}")(_function)
