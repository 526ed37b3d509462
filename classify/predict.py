"""Raw images in, calibrated probabilities out."""

from __future__ import annotations

import dataclasses
import os
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..arguments import says_nearest_argument
from ..cache.spec import FeatureSpec
from ..cache.store import FeatureStore
from ..embed.backbones.registry import Backbone, get_backbone
from ..embed.dataset import image_paths
from ..embed.engines.engine import Engine
from ..embed.engines.registry import load_engine
from ..embed.extract import Outcome, extract
from ..errors import DataError, WeightsError
from ..progress import Progress, silent
from ..reprs import html_table, shortened
from ..workspace import Workspace, several
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
        Called with the number of images done and their total, counted once a view and backbone.

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
    if not files:
        raise DataError("no images to predict.", "Name image files, or folders that hold some.")
    if tta < 0:
        raise DataError(f"{tta} augmented views cannot be averaged.", "Use 0 or more.")
    if tta and reject is not None:
        raise DataError(
            "how often predictions over augmented views are wrong was not measured.",
            "Use either --reject or --tta.",
        )
    if isinstance(reject, float | int):
        reject = rejection(run, reject)
    threshold = 0.0 if reject is None else reject.threshold
    head, cache = run.head(), Workspace(workspace).cache
    engines = [_Opener(run, source, engine) for source in run.info.sources]
    views = [[_Reader(cache, opener, k) for opener in engines] for k in range(tta + 1)]
    total, done = len(files) * len(engines) * len(views), 0

    def count(outcome: Outcome) -> None:
        nonlocal done
        done += 1
        progress(done, total)

    predictions: list[Prediction] = []
    for start in range(0, len(files), _BLOCK):
        block = files[start : start + _BLOCK]
        rows = [_Row() for _ in block]
        for readers in views:
            found = [reader.read(block, count) for reader in readers]
            _add_probabilities(rows, found, run, head)
        predictions += [
            row.prediction(file, run.class_names, threshold)
            for file, row in zip(block, rows, strict=True)
        ]
    return predictions


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


def run_backbone(run: Run, source: dict[str, str]) -> Backbone:
    """Return the network that computes the features of `source`, one of a run's.

    That of a fine-tuned run is its own ``model.keras``, wherever the run's folder has been moved.

    Raises
    ------
    WeightsError
        If the weights found here are not those that the run was trained with.
    """
    spec = FeatureSpec.from_json(source["spec"])
    kind, _, part = spec.backbone.partition(":")
    own = kind == "keras" and part in run.info.parts
    network = get_backbone(spec.backbone, str(run.folder) if own else source["weights"])
    if network.weights_digest != spec.weights:
        raise WeightsError(
            f"the weights of {spec.backbone} here are not those of run {run.id}: "
            f"{network.weights_digest[:12]} instead of {spec.weights[:12]}.",
            "Install the version of the weights that it was trained with, or fit it again.",
        )
    return network


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


class _Reader:
    """Gives files their features of one source and view, from the store where it has them."""

    def __init__(self, cache: Path, opener: _Opener, view: int) -> None:
        self._spec = dataclasses.replace(opener.spec, view=view)
        self._store = FeatureStore(cache, self._spec.json)
        self._known = self._store.digests()
        self._opener = opener

    def read(
        self, files: list[str], count: Callable[[Outcome], None]
    ) -> tuple[list[Outcome], dict[bytes, np.ndarray]]:
        """Return what became of each file, and the features by digest."""
        outcomes: list[Outcome] = [Outcome(index) for index in range(len(files))]
        features: dict[bytes, np.ndarray] = {}
        reasons: dict[bytes, str] = {}
        for outcome in extract(files, self._spec, self._opener, known=self._known):
            outcomes[outcome.index] = outcome
            if outcome.digest is not None and outcome.feature is not None:
                features[outcome.digest] = outcome.feature
            elif outcome.digest is not None and outcome.error:
                reasons[outcome.digest] = outcome.error
            count(outcome)
        for outcome in outcomes:  # copies of an image that failed fail for the same reason
            outcome.error = outcome.error or reasons.get(outcome.digest or b"", "")
        digests = {o.digest for o in outcomes if o.digest is not None and not o.error}
        stored = sorted(digests - features.keys())
        if stored:
            features.update(zip(stored, self._store.gather(stored), strict=True))
        return outcomes, features


@dataclass
class _Row:
    """What is known of one file so far: an error, or the sum of its views' probabilities."""

    total: np.ndarray | None = None
    error: str = ""

    def prediction(self, path: str, class_names: tuple[str, ...], threshold: float) -> Prediction:
        if self.error or self.total is None:
            folder = os.path.isdir(path)
            return Prediction(path, error="a folder without images" if folder else self.error)
        proba = self.total / self.total.sum()
        best = int(proba.argmax())
        return Prediction(
            path,
            label=class_names[best] if proba[best] >= threshold else UNKNOWN,
            confidence=float(proba[best]),
            probabilities=dict(zip(class_names, map(float, proba), strict=True)),
        )


def _add_probabilities(
    rows: list[_Row],
    found: list[tuple[list[Outcome], dict[bytes, np.ndarray]]],
    run: Run,
    head: Any,
) -> None:
    """Add one view's probabilities to `rows`; `found` holds outcomes and features by source."""
    for outcomes, _ in found:
        for row, outcome in zip(rows, outcomes, strict=True):
            row.error = row.error or outcome.error
    good = [i for i, row in enumerate(rows) if not row.error]
    if not good:
        return
    columns = [
        np.stack([features[outcomes[i].digest or b""] for i in good])
        for outcomes, features in found
    ]
    X = np.hstack(columns).astype(np.float32, copy=False)
    probabilities = head_probabilities(run.folder, head, X)
    for i, proba in zip(good, probabilities, strict=True):
        total = rows[i].total
        rows[i].total = proba if total is None else total + proba


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
