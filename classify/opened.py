"""A run that is open: it says of pictures in memory what it takes them for, as often as asked.

N images, C classes, D features.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

import numpy as np

from ..cache.identity import digest_of
from ..cache.spec import FeatureSpec
from ..embed.engines.engine import Engine
from ..embed.engines.registry import load_engine
from ..embed.extract import NOT_FINITE, framing_of
from ..embed.headers import MAX_PIXELS
from ..embed.images import decode_images
from ..errors import ImageError
from ..reprs import html_table, shortened
from .decision import Decision
from .runs.backbone import run_backbone
from .runs.checks import head_probabilities
from .runs.neighbours import read_neighbours, stranger_p_values
from .runs.run import Run
from .scoring.calibrate import UNKNOWN
from .sources import Source, mean_of, view_specs
from .strangers import Neighbours

Looks = list[np.ndarray]
"""What a run looks at of one image: pixels (S, S, 3) uint8 for each of its networks and views."""


@dataclass(repr=False)
class Prediction:
    """What a run says of one image.

    Attributes
    ----------
    path : str
    label : str or None
        The most probable class, or with costs the one of least expected cost; ``"unknown"`` if that
        was rejected; None if the image could not be read.
    confidence : float or None
        Probability of the label; of the most probable class if that is ``"unknown"``.
    probabilities : dict of str to float
        By class name; empty if the image could not be read.
    error : str
        Why it could not be read, "" if it could.
    expected_cost : float or None
        Of the label, where costs were given.
    stranger : float or None
        The share of the images that the run was scored on which resemble those that it learned from
        as little, this one among them: see `tlx.classify.strangers`. None if the run does not tell.
    """

    path: str
    label: str | None = None
    confidence: float | None = None
    probabilities: dict[str, float] | None = None
    error: str = ""
    expected_cost: float | None = None
    stranger: float | None = None

    def __repr__(self) -> str:
        path = shortened(self.path, 200)
        if self.confidence is None:
            return f"<Prediction {path!r}: {shortened(self.error, 200)}>"
        return f"<Prediction {path!r}: {self.label!r}, {self.confidence:.4f}>"

    def _repr_html_(self) -> str:
        ranked = sorted((self.probabilities or {}).items(), key=lambda item: -item[1])
        rows = [(name, f"{p:.4f}") for name, p in ranked]
        return html_table(repr(self), ("class", "probability"), rows)


class Judged(NamedTuple):
    """What a run says of an image: its probabilities (C,), and the p-value of a stranger."""

    probabilities: np.ndarray
    stranger: float


class Opener:
    """Opens the engine of one of a run's sources once, when it is first needed."""

    def __init__(self, run: Run, source: Source, engine: str) -> None:
        self.spec = FeatureSpec.from_json(source["spec"])
        self._run, self._source, self._name = run, source, engine
        self._engine: Engine | None = None

    def __call__(self) -> Engine:
        """Return the engine."""
        if self._engine is None:
            network = run_backbone(self._run, self._source)
            self._engine = load_engine(network, self.spec, self._name)
        return self._engine


class OpenedRun:
    """A run whose networks and head are loaded.

    Any number of threads may call `decode` at once; `judge` is for one at a time.

    Parameters
    ----------
    run : Run
    engine : str, default="auto"
        See `tlx.predict_images`.

    Attributes
    ----------
    run : Run
    engines : list of Engine
        One for each of the run's kinds of features.

    Raises
    ------
    WeightsError
        If the backbone's weights are not those that the run was trained with.
    """

    def __init__(self, run: Run, engine: str = "auto") -> None:
        self.run = run
        self.engines = [Opener(run, source, engine)() for source in run.sources]
        self._specs = [view_specs(source) for source in run.sources]
        self._head, self._neighbours = run.head(), read_neighbours(run)

    @property
    def image_sizes(self) -> list[int]:
        """Side of the square pixels of each look."""
        return [spec.image_size for specs in self._specs for spec in specs]

    @property
    def pixels_side(self) -> int | None:
        """Side of the one square of pixels that is looked at; None if there are several."""
        specs = [spec for specs in self._specs for spec in specs]
        kinds = {(s.image_size, s.fit, s.interpolation, s.view) for s in specs}
        return specs[0].image_size if len(kinds) == 1 and specs[0].view == 0 else None

    def decode(self, data: bytes, max_pixels: int = MAX_PIXELS) -> Looks:
        """Return what the run looks at of one image file of not more pixels than so many.

        Raises
        ------
        ImageError
            If it cannot be decoded.
        """
        digest = digest_of(data)
        framings = [framing_of(spec, digest) for specs in self._specs for spec in specs]
        return [decoded.pixels for decoded in decode_images(data, framings, False, max_pixels)]

    def judge(self, images: Sequence[Looks]) -> list[Judged | ImageError]:
        """Return what the run says of N images, or why it says nothing of one."""
        columns, looks = [], iter(zip(*images, strict=True))
        for specs, engine in zip(self._specs, self.engines, strict=True):
            seen = [_features(engine, spec, np.stack(next(looks))) for spec in specs]
            columns.append(mean_of(seen))
        X = np.hstack(columns)
        good: Any = np.isfinite(X).all(axis=1)
        said = iter(judge(self.run, self._head, self._neighbours, X[good]) if good.any() else [])
        return [next(said) if fine else ImageError(NOT_FINITE) for fine in good]


def _features(engine: Engine, spec: FeatureSpec, pixels: np.ndarray) -> np.ndarray:
    with np.errstate(over="ignore"):  # float16 may overflow; `judge` looks for it
        return engine(pixels).astype(spec.dtype, copy=False)


def judge(run: Run, head: Any, neighbours: Neighbours | None, X: np.ndarray) -> list[Judged]:
    """Return what a run's head says of embeddings X (N, D)."""
    stranger = np.full(len(X), np.nan)
    if neighbours is not None:
        stranger = stranger_p_values(run, neighbours, X)
    judged = zip(head_probabilities(run.folder, head, X), stranger.tolist(), strict=True)
    return [Judged(*each) for each in judged]


def label_judged(judged: Sequence[Judged], decision: Decision) -> list[Prediction]:
    """Return what a decision makes of N images; their paths are ""."""
    if not judged:
        return []
    names = (*decision.class_names, UNKNOWN)
    moved = decision.moved(np.stack([each.probabilities for each in judged]))
    stranger = np.array([each.stranger for each in judged])
    chosen = decision.choose(moved, stranger)
    costs = decision.costs
    expected = None if costs is None else costs.expected(moved)
    rows = []
    for i, (p, c, far) in enumerate(zip(moved, chosen.tolist(), stranger.tolist(), strict=True)):
        rows.append(
            Prediction(
                "",
                label=names[c],
                confidence=float(p[c] if c < len(p) else p.max()),
                probabilities=dict(zip(names, map(float, p), strict=False)),
                expected_cost=None if expected is None else float(expected[i, c]),
                stranger=None if math.isnan(far) else far,
            )
        )
    return rows


def predictions_dict(run: Run, found: Sequence[Prediction], decision: Decision) -> dict[str, Any]:
    """Return predictions as the JSON object of ``tlx predict --json`` and of ``tlx serve``."""
    told: dict[str, Any] = {"run": run.id, "predictions": [asdict(row) for row in found]}
    if decision.rejection is not None:
        told["reject"] = asdict(decision.rejection)
    return told
