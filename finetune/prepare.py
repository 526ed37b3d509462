"""What a fine-tuning starts from: the head, the images held out, and the run that it replaces."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from ..classify.duplicates import are_grouped, handle_duplicates
from ..classify.folds import stratified_group_folds
from ..classify.runs.best import best_run, load_run
from ..classify.runs.predictions import scored_id, trained_id
from ..classify.runs.run import Run
from ..classify.runs.store import check_name, list_runs
from ..classify.sources import mean_views
from ..classify.table import Features, load_table
from ..errors import DataError, FitError, TlxError
from ..workspace import Workspace
from .seed import SEEDS, SeedHead, seed_head
from .settings import Settings

MODEL = "finetune"
_INNER_FOLDS = 5  # one of them is held out if the data set has no validation split

_REMEDY = "Add images, or hold some out: tlx embed DATA --validation-fraction 0.2"


@dataclass
class HeldOut:
    """A head, the images it learned from, and those that neither it nor the network will see.

    Attributes
    ----------
    table : Features
    train, rows : ndarray of int
        Rows of the table to learn from, and those held out.
    protocol : str
    head : SeedHead
    temperature : float
        That is in the head's weights.
    proba : ndarray of shape (M, C), or None
        What the head's own run says of the held-out images: then the head has one log loss, here
        and there. None if they, their labels or folds are others now.
    refitted : bool
        Whether the head had to be fitted again without the held-out images.
    fold : ndarray of shape (M,), int
        Which of several trainings holds each out; zeros if there is one.
    """

    table: Features
    train: np.ndarray
    rows: np.ndarray
    protocol: str
    head: SeedHead
    temperature: float
    proba: np.ndarray | None
    refitted: bool
    fold: np.ndarray

    @property
    def used(self) -> np.ndarray:
        """All rows: first those to learn from, then those held out that are not among them."""
        return np.concatenate([self.train, np.setdiff1d(self.rows, self.train)])

    @property
    def y(self) -> np.ndarray:
        """Labels of the held-out images."""
        return self.table.y[self.rows]

    @property
    def groups(self) -> np.ndarray:
        """Groups of the held-out images."""
        return self.table.groups[self.rows]


def find_seed(workspace: Workspace, seed_run: str, dataset: str | None = None) -> Run:
    """Return the run to start from; ``"best"`` is the best that can be a seed.

    Raises
    ------
    FitError
        If the run named cannot be one.
    DataError
        If there is no run that can.
    """
    if seed_run != "best":
        run = load_run(seed_run, workspace.root)
        if error := objection(run):
            raise error
        return run
    try:
        return best_run(workspace, dataset, lambda run: objection(run) is None)
    except DataError as error:
        raise DataError(
            f"there is no run whose head could become a layer: {error.cause}",
            f"Run tlx fit-head --model logreg first (or another of {', '.join(SEEDS)}).",
        ) from error


def objection(run: Run) -> FitError | None:
    """Return why a run cannot be a seed; None if it can.

    It needs a head made of layers, over the plain features of one backbone at one layer.
    """
    if run.info.finetune is not None:
        return FitError(
            f"run {run.id} is fine-tuned already.",
            f"Start from {run.info.finetune.seed_run} again, with other options.",
        )
    if run.info.model not in SEEDS:
        return FitError(
            f"run {run.id} is a {run.info.model} run: its head cannot become a layer.",
            f"Heads that can: {', '.join(SEEDS)}.",
        )
    if len(run.info.sources) > 1:
        return FitError(
            f"run {run.id} joins {len(run.info.sources)} kinds of features, and a network has one.",
            "Start from a run of one backbone: tlx fit-head --features NAME",
        )
    if any(map(mean_views, run.sources)):
        return FitError(
            f"run {run.id} judges by means over augmented views, and a network sees one image.",
            "Start from a run of plain features, without --tta: tlx fit-head --features NAME",
        )
    return None


def _table(workspace: Workspace, run: Run) -> Features:
    """Return what the run learned from, with near-duplicates in one group if it had them so."""
    table = load_table(workspace, run.info.dataset, run.source["fingerprint"])
    if not are_grouped(run.info.near_duplicates):
        return table
    return handle_duplicates(workspace, [table], "group")[0][0]


def hold_out(workspace: Workspace, run: Run, seed: int) -> HeldOut:
    """Decide which images are held out, and make sure that the head has not seen them."""
    table = _table(workspace, run)
    held = table.split == "validation"
    protocol = "validation split"
    if not held.any():
        held = _a_fifth(table, seed)
        protocol = f"held-out fifth, stratified, seed {seed}"
        table = _with_validation(table, held)
    train, rows = np.flatnonzero(~held), np.flatnonzero(held)
    learned = {row.tobytes() for row in run.predictions().trained_on}
    seen = any(table.digest[row].tobytes() in learned for row in rows)
    refitted = seen or run.class_names != table.class_names
    fold = np.zeros(len(rows), int)
    if refitted:
        head, temperature, proba = _fit_again(run, table)
    else:
        head, temperature = run.head(), run.info.temperature
        proba = _told(run, table.digest[rows], table.y[rows], fold)
    layers = seed_head(head, run.info.model)
    return HeldOut(table, train, rows, protocol, layers, temperature, proba, refitted, fold)


def hold_out_folds(workspace: Workspace, run: Run, n_folds: int) -> HeldOut:
    """Deal all images into folds, each to be held out once; the head is that of all images.

    With as many folds as the run had, they are the same.

    Raises
    ------
    DataError
        If there is a validation split, a class has fewer groups than folds, or those are too few.
    """
    table = _table(workspace, run)
    y, groups, names = table.y, table.groups, table.class_names
    if (table.split == "validation").any():
        raise DataError(
            f"data set {table.dataset!r} has a validation split, which is held out.",
            "Leave out --folds.",
        )
    fold = stratified_group_folds(y, groups, n_folds, run.info.seed, names)
    proba, of_all = None, trained_id(run.predictions().trained_on) == trained_id(table.digest)
    if of_all and run.class_names == names:
        head, temperature = run.head(), run.info.temperature
        proba = _told(run, table.digest, y, fold)
    else:
        head, temperature, _ = _fit_again(run, table)
    rows, layers = np.arange(len(table)), seed_head(head, run.info.model)
    return HeldOut(table, rows, rows, f"{n_folds}-fold", layers, temperature, proba, True, fold)


def fold_of(held: HeldOut, run: Run, k: int) -> HeldOut:
    """Return what fold `k` of `hold_out_folds` holds out, with a head fitted without that.

    Its own temperature is fitted to what it holds out, so it has that of the head of all images.
    """
    out = held.fold == k
    table = _with_validation(held.table, out)
    head, own, _ = _fit_again(run, table)
    layers = seed_head(head, run.info.model).scaled(own / held.temperature)
    train, rows = np.flatnonzero(~out), np.flatnonzero(out)
    protocol, fold = f"fold {k + 1} of {held.protocol}", np.zeros(len(rows), int)
    return HeldOut(table, train, rows, protocol, layers, held.temperature, None, True, fold)


def _with_validation(table: Features, held: np.ndarray) -> Features:
    return replace(table, split=np.where(held, "validation", "train"))


def _told(run: Run, digest: np.ndarray, y: np.ndarray, fold: np.ndarray) -> np.ndarray | None:
    """Return what the run says of the images it was scored on; None if they or folds differ."""
    if run.scored_id != scored_id(digest, y):
        return None
    told = run.predictions()
    row_of = {row.tobytes(): number for number, row in enumerate(told.digest)}
    rows = [row_of[row.tobytes()] for row in digest]
    return told.probabilities[rows] if np.array_equal(told.fold[rows], fold) else None


def _a_fifth(table: Features, seed: int) -> np.ndarray:
    try:
        y, groups, names = table.y, table.groups, table.class_names
        return stratified_group_folds(y, groups, _INNER_FOLDS, seed, names) == 0
    except DataError as error:
        raise FitError(
            f"a fifth of the images cannot be held out: {error.cause}", _REMEDY
        ) from error


def _fit_again(run: Run, table: Features) -> tuple[Any, float, np.ndarray]:
    recipe = run.info.recipe
    assert recipe is not None, "every head that can be a seed has one"
    try:
        fitted = replace(recipe, options=recipe.fixed).evaluate(table, run.info.seed)
    except TlxError as error:
        raise FitError(
            f"the head of run {run.id} cannot be fitted without the held-out images: {error.cause}",
            _REMEDY,
        ) from error
    return fitted.head, fitted.temperature, fitted.probabilities


def goes_on(
    workspace: Workspace, name: str | None, seed_run: Run, unfreeze: int | str, settings: Settings
) -> bool:
    """Return whether the name is that of an interrupted run which this command goes on with.

    Raises
    ------
    DataError
        If another run has the name.
    """
    if name is None or not (workspace.runs / name).is_dir():
        check_name(workspace, name)
        return False
    run = next((run for run in list_runs(workspace) if run.id == name), None)
    tuning = run.info.finetune if run else None
    if run is None or tuning is None or not tuning.report["finetuned"].get("interrupted"):
        check_name(workspace, name)  # which says that it is taken
        return False
    asked = {"unfreeze": str(unfreeze).strip(), **asdict(settings)}
    before = {key: value for key, value in run.info.params.items() if key != "kept"}
    different = sorted(key for key in asked if asked[key] != before.get(key))
    if tuning.seed_run != seed_run.id:
        raise DataError(
            f"run {name!r} is an interrupted fine-tuning that started from {tuning.seed_run}, "
            f"this one starts from {seed_run.id}.",
            f"Go on with tlx finetune {tuning.seed_run} --name {name}, or choose another name.",
        )
    if different:
        told = ", ".join(f"{key} was {before.get(key)}" for key in different)
        raise DataError(
            f"run {name!r} is an interrupted fine-tuning with other options: {told}.",
            f"Go on with those, choose another name, or: tlx runs rm {name}",
        )
    return True
