"""Raw images in, calibrated probabilities out."""

from __future__ import annotations

import dataclasses
import os
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ..arguments import says_nearest_argument
from ..cache.spec import FeatureSpec
from ..cache.store import FeatureStore
from ..embed.dataset import image_paths
from ..embed.engines.engine import Engine
from ..embed.engines.registry import load_engine
from ..embed.extract import Outcome, Target, extract_all
from ..errors import DataError
from ..progress import Progress, silent
from ..reprs import html_table, shortened
from ..workspace import Workspace, several
from .runs.backbone import run_backbone
from .runs.best import load_run
from .runs.checks import head_probabilities
from .runs.run import Run
from .scoring.calibrate import UNKNOWN, Rejection, choose_threshold

_BLOCK = 1024  # files whose features are held at a time


@dataclass(repr=False)
class Prediction:
    """What a run says of one image.

    Attributes
    ----------
    path : str
    label : str or None
        The most probable class, or ``"unknown"`` if that was rejected; None if the image could not
        be read.
    confidence : float or None
        Probability of the most probable class.
    probabilities : dict of str to float
        By class name; empty if the image could not be read.
    error : str
        Why it could not be read, "" if it could.
    """

    path: str
    label: str | None = None
    confidence: float | None = None
    probabilities: dict[str, float] | None = None
    error: str = ""

    def __repr__(self) -> str:
        path = shortened(self.path, 200)
        if self.confidence is None:
            return f"<Prediction {path!r}: {shortened(self.error, 200)}>"
        return f"<Prediction {path!r}: {self.label!r}, {self.confidence:.4f}>"

    def _repr_html_(self) -> str:
        ranked = sorted((self.probabilities or {}).items(), key=lambda item: -item[1])
        rows = [(name, f"{p:.4f}") for name, p in ranked]
        return html_table(repr(self), ("class", "probability"), rows)


@says_nearest_argument
def predict_images(
    run: Run | str,
    paths: str | os.PathLike[str] | Iterable[str | os.PathLike[str]],
    *,
    workspace: str | os.PathLike[str] = ".tlx",
    tta: int = 0,
    reject: float | Rejection | None = None,
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
        Images, and folders that are searched for images. ``~`` is the home folder.
    workspace : path, default=".tlx"
    tta : int, default=0
        Test-time augmentation: average the probabilities of the plain image and of so many
        augmented views.
    reject : float or Rejection, optional
        Call images ``"unknown"`` of which the run is too little sure, so that at most this share of
        the others is wrong: see `rejection`, whose result it may be as well.
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
        If there is nothing to predict, or `reject` is asked for together with `tta`, for which no
        error was measured.
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
    _check(files, tta, reject)
    if isinstance(reject, float | int):
        reject = rejection(run, reject)
    threshold = 0.0 if reject is None else reject.threshold
    views = _views(run, Workspace(workspace).cache, tta, engine)
    head = run.head()
    known: dict[bytes, np.ndarray] = {}  # probabilities of the images so far
    outcomes: list[tuple[bytes | None, str]] = [(None, "")] * len(files)
    for block in _blocks(files, views, progress):
        known.update(_probabilities(run, head, views, [o for o in block if o.digest not in known]))
        for outcome in block:
            outcomes[outcome.index] = outcome.digest, outcome.error
    return [
        _failed(file, error)
        if error or digest is None
        else _prediction(file, known[digest], run.class_names, threshold)
        for file, (digest, error) in zip(files, outcomes, strict=True)
    ]


def _check(files: list[str], tta: int, reject: float | Rejection | None) -> None:
    if not files:
        raise DataError("no images to predict.", "Name image files, or folders that hold some.")
    if tta < 0:
        raise DataError(f"{tta} augmented views cannot be averaged.", "Use 0 or more.")
    if tta and reject is not None:
        raise DataError(
            "how often predictions over augmented views are wrong was not measured.",
            "Use either --reject or --tta.",
        )


def rejection(run: Run, error: float) -> Rejection:
    """Choose the confidence of a run above which at most `error` of the predictions are wrong.

    It is chosen on the images that the run was scored on, by heads that had not seen them: see
    `tlx.classify.scoring.calibrate.choose_threshold`.

    Raises
    ------
    DataError
        If `error` is not between 0 and 1, or a class is called ``"unknown"``.
    FitError
        If no confidence can promise so little error.
    """
    if UNKNOWN in run.class_names:
        raise DataError(
            f"run {run.id} has a class {UNKNOWN!r}, which rejected images would be taken for.",
            "Use the confidence column instead of --reject.",
        )
    scored = run.predictions()
    return choose_threshold(scored.label, scored.probabilities, scored.group, error)


class _Opener:
    """Opens the engine of one of a run's sources once, when it is first needed."""

    def __init__(self, run: Run, source: dict[str, str], engine: str) -> None:
        self.spec = FeatureSpec.from_json(source["spec"])
        self._run, self._source, self._name = run, source, engine
        self._engine: Engine | None = None

    def __call__(self) -> Engine:
        if self._engine is None:
            network = run_backbone(self._run, self._source)
            self._engine = load_engine(network, self.spec, self._name)
        return self._engine


class _Source(NamedTuple):
    """One kind of features that a run takes: where they may be, and what computes them."""

    store: FeatureStore
    target: Target


def _views(run: Run, cache: Path, tta: int, engine: str) -> list[list[_Source]]:
    """Return the sources of the plain image and of each augmented view."""
    openers = [_Opener(run, source, engine) for source in run.info.sources]

    def source(opener: _Opener, view: int) -> _Source:
        spec = dataclasses.replace(opener.spec, view=view)
        store = FeatureStore(cache, spec.json)
        return _Source(store, Target(spec, opener, store.digests()))

    return [[source(opener, view) for opener in openers] for view in range(tta + 1)]


def _blocks(
    files: list[str], views: list[list[_Source]], progress: Progress
) -> Iterator[list[Outcome]]:
    """Yield what becomes of the files, so many at a time that their features fit the memory."""
    targets = [source.target for sources in views for source in sources]
    block: list[Outcome] = []
    for done, outcome in enumerate(extract_all(files, targets), 1):
        block.append(outcome)
        progress(done, len(files))
        if len(block) == _BLOCK:
            yield block
            block = []
    if block:
        yield block


def _probabilities(
    run: Run, head: Any, views: list[list[_Source]], outcomes: list[Outcome]
) -> dict[bytes, np.ndarray]:
    """Return the probabilities (C,) of each image that could be read, the mean over its views."""
    # The first of byte-identical files is the one that has the features computed now.
    images = {o.digest: o for o in reversed(outcomes) if o.digest is not None and not o.error}
    if not images:
        return {}
    total: np.ndarray | float = 0.0
    number = 0
    for sources in views:
        columns = []
        for source in sources:
            columns.append(_features(source.store, images, number))
            number += 1
        X = np.hstack(columns).astype(np.float32, copy=False)
        total = total + head_probabilities(run.folder, head, X)
    mean = np.asarray(total)
    return dict(zip(images, mean / mean.sum(axis=1, keepdims=True), strict=True))


def _features(store: FeatureStore, images: dict[bytes, Outcome], target: int) -> np.ndarray:
    """Return the features (N, D) of `images` for one target, from the store or as computed now."""
    computed = {d: f for d, o in images.items() if (f := o.features[target]) is not None}
    stored = [digest for digest in images if digest not in computed]
    if stored:
        computed.update(zip(stored, store.gather(stored), strict=True))
    return np.stack([computed[digest] for digest in images])


def _failed(path: str, error: str) -> Prediction:
    return Prediction(path, error="a folder without images" if os.path.isdir(path) else error)


def _prediction(
    path: str, proba: np.ndarray, class_names: tuple[str, ...], threshold: float
) -> Prediction:
    best = int(proba.argmax())
    return Prediction(
        path,
        label=class_names[best] if proba[best] >= threshold else UNKNOWN,
        confidence=float(proba[best]),
        probabilities=dict(zip(class_names, map(float, proba), strict=True)),
    )


def find_images(paths: str | os.PathLike[str] | Iterable[str | os.PathLike[str]]) -> list[str]:
    """Return the files among `paths`, and the images in and below the folders among them.

    What is not there, and a folder without images, stands for itself.
    """
    files: list[str] = []
    for path in map(os.path.expanduser, several(paths)):
        inside = image_paths(path) if os.path.isdir(path) else []
        files += [os.path.join(path, name) for name in inside] or [path]
    return files


def count_labels(found: Iterable[Prediction]) -> dict[str, int]:
    """Return how many images were given each label, the most frequent first."""
    return dict(Counter(row.label for row in found if row.label is not None).most_common())
