"""Raw images in, calibrated probabilities out."""

from __future__ import annotations

import itertools
import os
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from ..arguments import says_nearest_argument
from ..cache.store import FeatureStore
from ..embed.dataset import image_paths
from ..embed.extract import Outcome, Target, extract_all
from ..embed.headers import IMAGE_SUFFIXES
from ..embed.remote import local_path, locate
from ..errors import DataError
from ..progress import Progress, silent
from ..workspace import Workspace, several
from .decision import AUTO, Decision, make_decision
from .opened import Judged, Opener, Prediction, judge, label_judged
from .runs.best import load_run
from .runs.run import Run
from .scoring.calibrate import Rejection
from .sources import MAX_VIEWS, Source, averaged, mean_of, mean_views, view_specs
from .strangers import Neighbours

_BLOCK = 1024  # files whose features are held at a time


@says_nearest_argument
def predict_images(
    run: Run | str,
    paths: str | os.PathLike[str] | Iterable[str | os.PathLike[str]],
    *,
    workspace: str | os.PathLike[str] = ".tlx",
    tta: int | None = None,
    reject: float | Rejection | None = None,
    prior: str | Mapping[str, float] | None = None,
    cost: str | os.PathLike[str] | Mapping[str, float] | ArrayLike | None = None,
    positive: str | None = None,
    engine: str = "auto",
    progress: Progress = silent,
) -> list[Prediction]:
    """Predict images with a run; an image that cannot be read is a row with its reason.

    Features that the workspace has are read, the others computed and not kept.

    Parameters
    ----------
    run : Run or str
        An id, the folder of a run, or ``"best"``.
    paths : path or iterable of path
        Images, and folders that are searched for images; URLs and archives as well. ``~`` is the
        home folder.
    workspace : path, default=".tlx"
    tta : int, optional
        Test-time augmentation: predict by the mean embedding of the plain image and of so many
        augmented views. By default as the run was scored: see `fit_head`.
    reject : float or Rejection, optional
        Call images ``"unknown"`` of which the run is too little sure, so that at most this share of
        the others is wrong: see `tlx.classify.decision.rejection`, whose result it may be as well.
        So are images that resemble nothing the run learned from, where it can tell.
    prior : mapping of str to float, or "auto", optional
        How frequent the classes are among such images, if not as among those that the run learned
        from: ``{"cats": 0.05}``; classes not named share what is left. Probabilities, labels and
        `reject` are then for that. With ``"auto"`` it is estimated from these very images, and used
        only if it moved beyond chance: see `tlx.classify.scoring.prevalence.estimate_prior`.
    cost : mapping, path or array of shape (C, C) or (C, C + 1), optional
        What mistakes cost: each image is called what has the least expected cost. Of two classes
        ``{"fp": 1, "fn": 20}``; of more a matrix, or the CSV file of one: see
        `tlx.classify.costs.costs_of`.
    positive : str, optional
        The class that ``fp`` and ``fn`` are about.
    engine : {"auto", "openvino", "tensorflow"}, default="auto"
    progress : callable, optional
        Called with the number of images done and their total.

    Returns
    -------
    list of Prediction
        One an image, in the order of `paths`; also one, with its reason, for each path that is not
        there and each folder without images.

    Raises
    ------
    DataError
        If there is nothing to predict, `reject` or ``prior="auto"`` is asked for together with
        another `tta` than the run's own, for which no error was measured, the run averages views
        by itself, or `prior` or `cost` make no sense.
    FitError
        If the run cannot promise so little error.
    WeightsError
        If the backbone's weights are not those that the run was trained with.

    Examples
    --------
    >>> import tlx
    >>> run = tlx.fit_head()
    >>> [prediction.label for prediction in tlx.predict_images(run, "photos/red")][:3]
    ['red', 'red', 'red']
    """
    run = load_run(run, workspace) if isinstance(run, str) else run
    files = find_images(paths)
    check_request(run, files, tta, reject, prior)
    decision = make_decision(run, reject=reject, prior=prior, cost=cost, positive=positive)
    where: dict[str, Any] = {"workspace": workspace, "engine": engine, "progress": progress}
    return label_images(run, files, decision, tta=tta, **where)[0]


def label_images(
    run: Run,
    files: list[str],
    decision: Decision,
    *,
    workspace: str | os.PathLike[str] = ".tlx",
    tta: int | None = None,
    engine: str = "auto",
    progress: Progress = silent,
) -> tuple[list[Prediction], Decision]:
    """Do as `predict_images` does, for a decision that was checked; return it as it was used.

    If the prevalence is to be estimated, that decision has what was found.
    """
    sources = run.sources if tta is None else averaged(run.info.sources, tta)
    seen = _seen(run, sources, Workspace(workspace).cache, engine)
    head = run.head()
    # Over other views than its own it was not measured how far images are.
    neighbours = decision.neighbours if tta in (None, run.info.tta) else None
    known: dict[bytes, Judged] = {}  # of the images so far
    outcomes: list[tuple[bytes | None, str]] = [(None, "")] * len(files)
    for block in _blocks(files, seen, progress):
        new = [outcome for outcome in block if outcome.digest not in known]
        known.update(_judge(run, head, neighbours, seen, new))
        for outcome in block:
            outcomes[outcome.index] = outcome.digest, outcome.error
    decision = decision.settled(_stack(known, len(run.class_names)))
    labelled = dict(zip(known, label_judged(list(known.values()), decision), strict=True))
    rows = [
        _failed(file, error) if error or digest is None else replace(labelled[digest], path=file)
        for file, (digest, error) in zip(files, outcomes, strict=True)
    ]
    return rows, decision


def check_request(
    run: Run,
    files: list[str],
    tta: int | None,
    reject: float | Rejection | None,
    prior: str | Mapping[str, float] | None,
) -> None:
    """Refuse what cannot be predicted.

    Raises
    ------
    DataError
    """
    if not files:
        raise DataError("no images to predict.", "Name image files, or folders that hold some.")
    if tta is None or tta == run.info.tta:
        return
    if not 0 <= tta <= MAX_VIEWS:
        raise DataError(f"{tta} augmented views cannot be averaged.", f"Use 0 to {MAX_VIEWS}.")
    if any(map(mean_views, run.info.sources)):
        raise DataError(
            f"run {run.id} learned from means over augmented views, and takes the same of images.",
            "Leave out --tta.",
        )
    if reject is not None:
        raise DataError(
            f"how often run {run.id} is wrong over {tta} augmented views was not measured.",
            f"Leave out --tta or --reject, or measure it: tlx fit-head --tta {tta}",
        )
    if prior == AUTO:
        raise DataError(
            f"a prevalence is estimated by how often run {run.id} takes one class for another, and "
            f"over {tta} augmented views that was not measured.",
            f"Leave out --tta, state the prevalence, or measure it: tlx fit-head --tta {tta}",
        )


class _Source(NamedTuple):
    """One kind of features that a run takes: where they may be, and what computes them."""

    store: FeatureStore
    target: Target


def _seen(run: Run, sources: list[Source], cache: Path, engine: str) -> list[list[_Source]]:
    """Return for each kind of features what is averaged: the plain image and augmented views."""
    seen = []
    for source in sources:
        opener = Opener(run, source, engine)
        stores = [(spec, FeatureStore(cache, spec.json)) for spec in view_specs(source)]
        seen.append([_Source(s, Target(spec, opener, s.digests())) for spec, s in stores])
    return seen


def _blocks(
    files: list[str], seen: list[list[_Source]], progress: Progress
) -> Iterator[list[Outcome]]:
    """Yield what becomes of the files, so many at a time that their features fit the memory."""
    targets = [one.target for looks in seen for one in looks]
    block: list[Outcome] = []
    for done, outcome in enumerate(extract_all(files, targets), 1):
        block.append(outcome)
        progress(done, len(files))
        if len(block) == _BLOCK:
            yield block
            block = []
    if block:
        yield block


def _judge(
    run: Run,
    head: Any,
    neighbours: Neighbours | None,
    seen: list[list[_Source]],
    outcomes: list[Outcome],
) -> dict[bytes, Judged]:
    """Return what is said of each image that could be read."""
    # The first of byte-identical files is the one that has the features computed now.
    images = {o.digest: o for o in reversed(outcomes) if o.digest is not None and not o.error}
    if not images:
        return {}
    columns = []
    numbers = itertools.count()  # of the targets, in the order of `_blocks`
    for looks in seen:
        columns.append(mean_of(_features(one.store, images, next(numbers)) for one in looks))
    return dict(zip(images, judge(run, head, neighbours, np.hstack(columns)), strict=True))


def _features(store: FeatureStore, images: dict[bytes, Outcome], target: int) -> np.ndarray:
    """Return the features (N, D) of `images` for one target, from the store or as computed now."""
    computed = {d: f for d, o in images.items() if (f := o.features[target]) is not None}
    stored = [digest for digest in images if digest not in computed]
    if stored:
        computed.update(zip(stored, store.gather(stored), strict=True))
    return np.stack([computed[digest] for digest in images])


def _failed(path: str, error: str) -> Prediction:
    return Prediction(path, error="a folder without images" if os.path.isdir(path) else error)


def _stack(known: dict[bytes, Judged], C: int) -> np.ndarray:
    """Return the probabilities of all images, shape (N, C)."""
    found = [judged.probabilities for judged in known.values()]
    return np.stack(found) if found else np.zeros((0, C))


def find_images(paths: str | os.PathLike[str] | Iterable[str | os.PathLike[str]]) -> list[str]:
    """Return the files among `paths`, and the images in and below the folders among them.

    URLs and archives are folders, too, unless they have the suffix of an image. What is not there,
    and a folder without images, stands for itself.

    Raises
    ------
    DataError
        If a folder cannot be read, or listed where it is.
    """
    files: list[str] = []
    for path in map(os.path.expanduser, several(paths)):
        place = locate(path)
        if place is None:
            path = local_path(path)
            folder = os.path.isdir(path)
        else:
            path, folder = place, os.path.splitext(place)[1].lower() not in IMAGE_SUFFIXES
        inside = image_paths(path) if folder else []
        files += [os.path.join(path, name) for name in inside] or [path]
    return files


def count_labels(found: Iterable[Prediction]) -> dict[str, int]:
    """Return how many images were given each label, the most frequent first."""
    return dict(Counter(row.label for row in found if row.label is not None).most_common())
