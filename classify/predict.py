"""Raw images in, calibrated probabilities out."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np

from ..cache.store import FeatureStore
from ..embed.backbones import get_backbone
from ..embed.dataset import image_paths
from ..embed.engines import Engine, load_engine
from ..embed.pipeline import Outcome, extract
from ..embed.spec import FeatureSpec
from ..errors import DataError, WeightsError
from ..workspace import Workspace
from .linear import LinearPredictor
from .runs import Run, load_run


@dataclass
class Prediction:
    """What a run says of one image.

    Attributes
    ----------
    path : str
    label : str or None
        The most probable class; None if the image could not be read.
    confidence : float or None
        Its probability.
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


def predict_images(
    run: Run | str,
    paths: Iterable[str | os.PathLike[str]],
    *,
    workspace: str | os.PathLike[str] = ".tlx",
    engine: str = "auto",
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> list[Prediction]:
    """Predict images with a run; an image that cannot be read is a row with its reason.

    Features that the workspace has are read, the others computed and not kept.

    Parameters
    ----------
    run : Run or str
        An id, the folder of a run, or ``"best"``.
    paths : iterable of path
        Images, and folders that are searched for images.
    workspace : path, default=".tlx"
    engine : {"auto", "openvino", "tensorflow"}, default="auto"
    progress : callable, optional
        Called with the number of images done and their total.

    Returns
    -------
    list of Prediction
        One an image, in the order of `paths`.

    Raises
    ------
    DataError
        If there is nothing to predict.
    WeightsError
        If the backbone's weights are not those that the run was trained with.
    """
    run = load_run(run, workspace) if isinstance(run, str) else run
    files = find_images(paths)
    if not files:
        raise DataError("no images to predict.", "Name image files, or folders that hold some.")
    spec = FeatureSpec.from_json(run.info["source"]["spec"])
    store = FeatureStore(Workspace(workspace).cache, spec.json)

    def open_engine() -> Engine:
        network = get_backbone(spec.backbone, run.info["source"]["weights"])
        if network.weights_digest != spec.weights:
            raise WeightsError(
                f"the weights of {spec.backbone} here are not those of run {run.id}: "
                f"{network.weights_digest[:12]} instead of {spec.weights[:12]}.",
                "Install the version of the weights that it was trained with, or fit it again.",
            )
        return load_engine(network, spec, engine)

    head = run.head()
    outcomes: list[Outcome | None] = [None] * len(files)
    features: dict[bytes, np.ndarray] = {}
    for done, outcome in enumerate(extract(files, spec, open_engine, known=store.digests()), 1):
        outcomes[outcome.index] = outcome
        if outcome.feature is not None and outcome.digest is not None:
            features[outcome.digest] = head.predict_proba(outcome.feature[None])[0]
            outcome.feature = None
        progress(done, len(files))
    rows = [outcome for outcome in outcomes if outcome is not None]
    _recall(rows, store, head, features)
    reasons = {row.digest: row.error for row in rows if row.error and row.digest}
    return [
        _prediction(file, row, features, reasons, run.class_names)
        for file, row in zip(files, rows, strict=True)
    ]


def find_images(paths: Iterable[str | os.PathLike[str]]) -> list[str]:
    """Return the files among `paths`, and the images in and below the folders among them."""
    files: list[str] = []
    for path in [os.fspath(path) for path in paths]:
        if os.path.isdir(path):
            files += [os.path.join(path, name) for name in image_paths(path)]
        else:
            files.append(path)
    return files


def _recall(
    rows: Iterable[Outcome],
    store: FeatureStore,
    head: LinearPredictor,
    done: dict[bytes, np.ndarray],
) -> None:
    """Add to `done` the probabilities of images whose features were stored already."""
    wanted = [r.digest for r in rows if r.digest and not r.error and r.digest not in done]
    stored = store.digests() if wanted else set()
    digests = sorted(set(wanted) & stored)
    for start in range(0, len(digests), 4096):
        part = digests[start : start + 4096]
        done.update(zip(part, head.predict_proba(store.gather(part)), strict=True))


def _prediction(
    file: str,
    row: Outcome,
    probabilities: dict[bytes, np.ndarray],
    reasons: dict[bytes, str],
    class_names: tuple[str, ...],
) -> Prediction:
    error = row.error or reasons.get(row.digest or b"", "")
    if error or row.digest is None:
        return Prediction(file, error=error)
    proba = probabilities[row.digest]
    best = int(proba.argmax())
    return Prediction(
        file,
        label=class_names[best],
        confidence=float(proba[best]),
        probabilities=dict(zip(class_names, map(float, proba), strict=True)),
    )
