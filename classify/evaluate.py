"""Score a finished run on a data set that it has not seen: the final examination."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from ..arguments import says_nearest_argument
from ..cache.manifest import Manifest
from ..cache.spec import FeatureSpec
from ..embed.engines.engine import Engine
from ..errors import DataError, UnknownNameError, WeightsError
from ..reprs import html_table
from ..workspace import Workspace
from .duplicates import count_near
from .runs.backbone import run_backbone
from .runs.best import load_run
from .runs.checks import head_probabilities
from .runs.prior import run_prior
from .runs.run import Run
from .runs.uses import Uses, count_use
from .scoring.classes import ClassReport, class_reports
from .scoring.ece import calibration_error
from .scoring.metrics import Metric, confusion_matrix, image_loss, score
from .scoring.prevalence import PrevalenceShift, move_prior, prevalence_shift, share_the_rest
from .sources import Source, describe, mean_views, name_of, plain
from .table import Features, load_table

if TYPE_CHECKING:
    from ..embed.fill import SpecFill

SPLITS = ("test", "validation", "train", "all")


@dataclass(frozen=True, repr=False)
class Assessment:
    """What a run is worth on a data set. C classes.

    Attributes
    ----------
    run : Run
    dataset, split : str
    n : int
        Images scored.
    metrics : dict of str to Metric
        As of a run; ``ece`` is the calibration error of what the run predicts.
    confusion : ndarray of shape (C, C), int
        Rows are true classes, columns predicted ones.
    per_class : list of ClassReport
    seen : int
        Images that the run learned from.
    chosen_on : int
        Others, on which it was chosen and calibrated: its validation split.
    metrics_unseen : dict of str to Metric
        Of the images that it did not learn from; empty if there are none.
    shift : PrevalenceShift or None
        The class whose share moved most, if classes are not as frequent as the run supposes: as
        where it learned, or even ones if it does not learn them.
    shifted_loss : float or None
        What the log loss is for probabilities that suppose the share here of that class, and of the
        others what is left, as `stated_prior` shares it; None without a shift.
    near_duplicates : int or None
        Images that are nearly the same as others, which the run learned from; None if the features
        of those are gone.
    uses : Uses or None
        How often these images were evaluated; None if they are not for testing.
    """

    run: Run
    dataset: str
    split: str
    n: int
    metrics: dict[str, Metric]
    confusion: np.ndarray
    per_class: list[ClassReport]
    seen: int
    chosen_on: int
    metrics_unseen: dict[str, Metric]
    shift: PrevalenceShift | None = None
    shifted_loss: float | None = None
    near_duplicates: int | None = None
    uses: Uses | None = None

    def __repr__(self) -> str:
        return (
            f"<Assessment of {self.run.id!r} on {self.dataset!r}, {self.split}: accuracy "
            f"{self.metrics['accuracy']} of {self.n} images, {self.seen} of them seen in training>"
        )

    def _repr_html_(self) -> str:
        return html_table(repr(self), ("metric", "95% interval"), self.metrics.items())


@says_nearest_argument
def evaluate_run(
    run: Run | str,
    data: str | os.PathLike[str],
    *,
    split: str | None = None,
    workspace: str | os.PathLike[str] = ".tlx",
    engine: str | Engine = "auto",
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Assessment:
    """Score a run on a data set.

    Parameters
    ----------
    run : Run or str
        An id, the folder of a run, or ``"best"``.
    data : str or path
        Name of a data set of the workspace, or a folder, CSV file, archive or URL. The latter is
        embedded into the workspace first, as far as its images are new.
    split : {"test", "validation", "train", "all"}, optional
        By default ``"test"`` if the data set has one, else ``"all"``.
    workspace : path, default=".tlx"
    engine : {"auto", "openvino", "tensorflow"}, default="auto"
        What embeds new images.
    progress : callable, optional
        Called with the number of images embedded and their total.

    Returns
    -------
    Assessment

    Raises
    ------
    UnknownNameError
        If there is no such run or data set.
    DataError
        If the data set has classes that the run does not know, no image in the split, or lacks
        features of the run's backbone.
    WeightsError
        If the backbone's weights are not those that the run was trained with.

    Examples
    --------
    >>> import tlx
    >>> run = tlx.fit_head()
    >>> assessment = tlx.evaluate_run(run, "photos")
    >>> assessment.n, assessment.seen
    (24, 24)
    >>> assessment.confusion.tolist()
    [[12, 0], [0, 12]]
    """
    workspace = Workspace(workspace)
    run = load_run(run, workspace) if isinstance(run, str) else run
    manifest = _manifest(workspace, run, data, engine, progress)
    _check_classes(run, manifest)
    split = _split(manifest, split)
    table = _load(workspace, run, manifest, split)
    known = {c: i for i, c in enumerate(run.class_names)}
    y = np.array([known[c] for c in table.class_names])[table.y]
    proba = head_probabilities(run.folder, run.head(), table.X)
    scored = run.predictions()
    seen = _among(table.digest, scored.trained_on)
    chosen_on = _among(table.digest, scored.digest) & ~seen
    for_testing = split == "test" or (split == "all" and not (seen | chosen_on).any())
    shift, shifted_loss = _shift(run, y, proba, table.groups)
    return Assessment(
        run=run,
        dataset=manifest.name,
        split=split,
        n=len(y),
        metrics=_metrics(y, proba, table.groups),
        confusion=confusion_matrix(y, proba.argmax(axis=1), len(known)),
        per_class=class_reports(y, proba, table.groups, run.class_names),
        seen=int(seen.sum()),
        chosen_on=int(chosen_on.sum()),
        metrics_unseen={} if seen.all() else _metrics(y[~seen], proba[~seen], table.groups[~seen]),
        shift=shift,
        shifted_loss=shifted_loss,
        near_duplicates=_near_duplicates(workspace, run, os.fspath(data), manifest, table, seen),
        uses=count_use(workspace, run, table.digest, table.class_names, manifest.name)
        if for_testing
        else None,
    )


def _near_duplicates(
    workspace: Workspace,
    run: Run,
    known: str,
    manifest: Manifest,
    table: Features,
    seen: np.ndarray,
) -> int | None:
    """Return how many images that were not learned from are nearly the same as one that was."""
    learned = run.predictions().trained_on
    try:
        its = manifest if known == run.info.dataset else workspace.load_manifest(run.info.dataset)
    except (DataError, UnknownNameError):
        return None
    return count_near(workspace, (manifest, table), np.flatnonzero(~seen), its, learned)


def _shift(
    run: Run, y: np.ndarray, proba: np.ndarray, groups: np.ndarray
) -> tuple[PrevalenceShift | None, float | None]:
    """Return how far the shares of the classes moved, and the log loss if that is allowed for."""
    learned, info = run_prior(run), run.info
    n_learned = max(1, (info.trained_on or info.n) // (info.views + 1))
    shift = prevalence_shift(y, groups, learned, n_learned)
    if shift is None:
        return None, None
    if not np.delete(learned, shift.label).any():
        return shift, None
    stated = np.full(len(learned), np.nan)
    stated[shift.label] = stated_share(shift, len(y))
    moved = move_prior(proba, learned, share_the_rest(stated, learned))
    return shift, float(image_loss(moved[np.arange(len(y)), y]).mean())


def stated_share(shift: PrevalenceShift, n: int) -> float:
    """Return the share to state of the class that moved most among n images, in three digits."""
    return float(f"{min(max(shift.share, 0.5 / n), 1 - 0.5 / n, 0.999):.3g}")


def _metrics(y: np.ndarray, proba: np.ndarray, groups: np.ndarray) -> dict[str, Metric]:
    return {**score(y, proba, groups), "ece": calibration_error(y, proba, groups)}


def _manifest(
    workspace: Workspace,
    run: Run,
    data: str | os.PathLike[str],
    engine: str | Engine,
    progress: Callable[[int, int], None],
) -> Manifest:
    """Return the manifest of a data set; what lacks of a folder or CSV file is embedded first.

    A data set that the workspace knows is left as its own `tlx embed` made it: its splits hold
    here too, and nothing of this is written into it.
    """
    names = workspace.dataset_names()
    if os.fspath(data) in names:
        return workspace.load_manifest(os.fspath(data))
    from ..embed.remote import locate

    if not os.path.exists(data) and locate(data) is None:
        raise UnknownNameError.nearest(
            "data set", os.fspath(data), names, "Or name a folder or CSV file."
        )
    from ..embed.fill import fill, look
    from ..embed.splits import keep_split

    seen = look(workspace, data)
    if seen.previous is None:  # nothing was corrected, so that these are its classes
        _check_classes(run, seen.scan.manifest)
    manifest, own = seen.scan.manifest, list(seen.scan.manifest.split)
    fill(
        manifest,
        [_fill(workspace, run, source, engine) for source in run.sources],
        progress=progress,
        measure=seen.previous is None,  # of another's data set nothing is kept
    )
    manifest.split = own
    if seen.previous is not None:
        keep_split(manifest, seen.previous)
    manifest.sources = list(map(plain, run.info.sources))
    if seen.previous is None:
        with _latest_stays(workspace):
            manifest.save(workspace.manifest_path(manifest.name))
    return workspace.correct(manifest).manifest


def _fill(workspace: Workspace, run: Run, source: Source, engine: str | Engine) -> SpecFill:
    """Return what computes the features of one of a run's sources."""
    from ..embed.fill import SpecFill
    from ..embed.images import DECODER_REVISION

    spec = FeatureSpec.from_json(source["spec"])
    if spec.decoder != DECODER_REVISION:
        raise WeightsError(
            f"run {run.id} was trained on images decoded in another way (revision {spec.decoder}, "
            f"here it is {DECODER_REVISION}).",
            "Fit it again, or install the version of tlx that it was trained with.",
        )
    views = mean_views(source)
    return SpecFill(workspace, spec, lambda: run_backbone(run, source), views, engine)


@contextlib.contextmanager
def _latest_stays(workspace: Workspace) -> Iterator[None]:
    """Let the data set embedded last stay the default one, whatever is embedded meanwhile."""
    names = workspace.dataset_names()
    try:
        yield
    finally:
        if names:
            with contextlib.suppress(OSError):  # a read-only workspace keeps its order anyway
                # Not "now": two times within a tick of the file system's clock are the same.
                newest = workspace.manifest_path(workspace.dataset_names()[-1]).stat().st_mtime_ns
                later = newest + 1_000_000
                os.utime(workspace.manifest_path(names[-1]), ns=(later, later))


def _check_classes(run: Run, manifest: Manifest) -> None:
    strange = [name for name in manifest.class_names if name not in run.class_names]
    if strange or not manifest.class_names:
        raise DataError(
            f"the classes of data set {manifest.name!r} are "
            f"{', '.join(manifest.class_names) or 'unknown'}, those of run {run.id} are "
            f"{', '.join(run.class_names)}.",
            "Name the class folders as those that the run was trained on.",
        )


def _split(manifest: Manifest, split: str | None) -> str:
    present = {name or "none" for name in manifest.split}
    if split is None:
        return "test" if "test" in present else "all"
    if split not in SPLITS:
        raise UnknownNameError.nearest("split", split, SPLITS)
    if split != "all" and split not in present:
        raise DataError(
            f"data set {manifest.name!r} has no {split} split.",
            f"It has: {', '.join(sorted(present))}. Use --split all for all its images.",
        )
    return split


def _load(workspace: Workspace, run: Run, manifest: Manifest, split: str) -> Features:
    features = name_of(run.sources)
    splits = ("train", "validation", "test", "") if split == "all" else (split,)
    try:
        return load_table(workspace, manifest, features, splits)
    except UnknownNameError as error:
        raise DataError(
            f"data set {manifest.name!r} has no features of {describe(run.sources)}, which run "
            f"{run.id} needs.",
            f"Name its folder instead, and it is embedded: {manifest.root}",
        ) from error


def _among(digests: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Return which digests are among others, shape (N,) bool."""
    known = set(map(bytes, others))
    return np.array([bytes(row) in known for row in digests], bool)
