"""Choose the cut by what a linear head can do with the features at each candidate."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from ..cache.manifest import file_of
from ..cache.spec import FeatureSpec
from ..classify.scoring.crossval import evaluate_head
from ..classify.scoring.intervals import Z
from ..classify.table import Features
from ..embed.extract import extract
from ..errors import DataError
from ..lazy_imports import import_keras, import_tensorflow
from .cut import INPUT, Choice, Cut, find_cuts

if TYPE_CHECKING:
    import keras

IMAGES: Final = 500
CANDIDATES: Final = 8
_SHARE: Final = 0.8  # of the layers: below it are edges and colours, and little is saved


@dataclass(frozen=True)
class ProbeRow:
    """What a linear head makes of the pooled features at one cut.

    Attributes
    ----------
    cut : str
    layers : int
        Above the cut.
    log_loss, error : float
        Cross-validated, with its standard error.
    accuracy : float
    chosen : bool
    """

    cut: str
    layers: int
    log_loss: float
    error: float
    accuracy: float
    chosen: bool = False


def candidates(model: keras.Model) -> list[Cut]:
    """Return at most eight cuts, spread over the upper part of the network.

    Each is the one with the smallest boundary in its neighbourhood.
    """
    cuts = find_cuts(model)
    total = cuts[-1].layers
    usable = [c for c in cuts if c.parameters and c.layers <= _SHARE * total and c.name != INPUT]
    if not usable:
        return [cuts[-1]]
    groups = np.array_split(np.arange(len(usable)), min(CANDIDATES, len(usable)))
    return [min((usable[i] for i in group), key=lambda c: np.prod(c.shape)) for group in groups]


def choose_by_probe(
    model: keras.Model,
    table: Features,
    rows: np.ndarray,
    spec: FeatureSpec,
    seed: int = 0,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> tuple[Choice, list[ProbeRow]]:
    """Choose the cut nearest to the output whose features are as good as the best.

    Logistic regression is cross-validated on the averaged activations of each candidate, for at
    most 500 training images. Features whose log loss is within one standard error of the lowest
    count as good: what lies above them can be trained without losing what the frozen part gives,
    and the nearest to the output is the cheapest of those. A full training at each cut would answer
    the question itself, at many times the cost.

    Parameters
    ----------
    model : keras.Model
        Pixels to embedding.
    table : Features
    rows : ndarray of int
        Training images.
    spec : FeatureSpec
    seed : int, default=0
        Of the images taken.
    progress : callable, optional
        Called with images done and their number.

    Returns
    -------
    choice : Choice
    rows : list of ProbeRow
        From the output to the input.
    """
    cuts = candidates(model)
    if len(cuts) == 1:
        cut = cuts[0]
        return Choice("auto", cut, f"auto -> {cut.layers} layers, the only place to cut"), []
    some = np.sort(np.random.default_rng(seed).permutation(rows)[:IMAGES])
    pooled = _pooled_features(model, cuts, table, some, spec, progress)
    found = []
    for cut, X in zip(cuts, pooled, strict=True):
        part = dataclasses.replace(
            table,
            X=X,
            y=table.y[some],
            split=np.full(len(some), ""),
            groups=table.groups[some],
            digest=table.digest[some],
            paths=[table.paths[row] for row in some],
        )
        metrics = evaluate_head(part, "logreg", n_folds=5, seed=seed).metrics
        loss = metrics["log_loss"]
        error = (loss.high - loss.low) / (2 * Z)
        accuracy = metrics["accuracy"].value
        found.append(ProbeRow(cut.name, cut.layers, loss.value, error, accuracy))
    lowest = min(found, key=lambda row: row.log_loss)
    good = [i for i, r in enumerate(found) if r.log_loss <= lowest.log_loss + lowest.error]
    found[good[0]] = dataclasses.replace(found[good[0]], chosen=True)
    cut = cuts[good[0]]
    return Choice("auto", cut, f"auto -> {cut.layers} layers, at `{cut.name}`"), found


def _pooled_features(
    model: keras.Model,
    cuts: list[Cut],
    table: Features,
    rows: np.ndarray,
    spec: FeatureSpec,
    progress: Callable[[int, int], None],
) -> list[np.ndarray]:
    """Return the activations at each cut, averaged over positions: one (n, D) array a cut."""
    engine = _MultiTap(model, cuts, spec)
    flat = dataclasses.replace(spec, pooling="avg", dtype="float32")
    files = [file_of(table.root, table.paths[row]) for row in rows]
    out = np.empty((len(rows), sum(engine.widths)), np.float32)
    copies: dict[bytes, int] = {}
    for done, outcome in enumerate(extract(files, flat, lambda: engine), 1):
        if outcome.error or outcome.digest != table.digest[rows[outcome.index]].tobytes():
            raise DataError(
                f"{files[outcome.index]} {outcome.error or 'has changed since it was embedded'}.",
                "Run tlx embed again, then fit the head again.",
            )
        if outcome.feature is not None and outcome.digest is not None:
            out[outcome.index] = outcome.feature
            copies[outcome.digest] = outcome.index
        progress(done, len(rows))
    for place, row in enumerate(rows):  # copies of an image are computed once
        out[place] = out[copies[table.digest[row].tobytes()]]
    return np.split(out, np.cumsum(engine.widths)[:-1], axis=1)


class _MultiTap:
    """All candidate activations in one pass, each averaged over its positions."""

    name, note = "tensorflow", ""

    def __init__(self, model: keras.Model, cuts: list[Cut], spec: FeatureSpec) -> None:
        keras, tf = import_keras(), import_tensorflow()
        layers = {layer.name: layer for layer in model.layers}
        taps = keras.Model(model.inputs[0], [layers[cut.name].output for cut in cuts])
        self.widths = [cut.shape[-1] for cut in cuts]
        self.output_shape = (sum(self.widths),)

        @tf.function(jit_compile=False, reduce_retracing=True)
        def pooled(pixels: Any) -> Any:
            tensors = taps(tf.cast(pixels, tf.float32), training=False)
            return tf.concat(
                [tf.reduce_mean(t, list(range(1, len(t.shape) - 1))) for t in tensors], axis=1
            )

        self._pooled = pooled

    def __call__(self, batch: np.ndarray) -> np.ndarray:
        """Map pixels (B, S, S, 3) uint8 to float32 (B, sum of D)."""
        return self._pooled(batch).numpy()
