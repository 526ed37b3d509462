"""The dense head: hidden layers with dropout, trained by Keras, kept as plain arrays as well.

Only training and writing ``head.keras`` import TensorFlow. A trained head is evaluated in NumPy, so
that predicting with a run needs neither TensorFlow nor the seconds of its import.
"""

from __future__ import annotations

import tempfile
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from ...errors import FitError
from ...lazy_imports import import_keras, import_tensorflow
from .arrays import head_parts
from .head import CLASS_WEIGHT, Head, Layers, Option, PredictorPoint, Problems, describe
from .inner import inner_folds
from .linear import LinearPredictor, both_logits, softmax
from .scaling import fit_scaling

_BATCH = (8, 64)  # images, least and most; in between there are 16 batches an epoch
_MAX_EPOCHS = 200
_PATIENCE = 10  # epochs without a smaller loss on the rows held out
_WAIT_FLAT = 30  # epochs if nothing can be held out
# Adam moves each of the D weights of a unit by about the rate, so its sum of D scaled
# features by the rate times sqrt(D) if the signs are random: that is kept the same for every D.
_RATE = 0.03
_MAX_RATE = 0.01
_DECAY = 0.01  # of AdamW, which multiplies it by the rate
_HELD = 5  # one row in so many is held out to stop early
_REFIT = 1000  # rows at most that are all trained on in the end: it doubles the time of training


@dataclass(frozen=True, repr=False)
class DensePredictor:
    """Layers as arrays: ReLU between them, and softmax (or the sigmoid) at the end.

    Attributes
    ----------
    layers : sequence of (weights, bias)
        Of shapes (inputs, units) and (units,), float32. The first is on raw features: any scaling
        is folded in. The last has C units, or one whose value is the log odds of the second class.
    dropout : float
        Of the Keras model between the hidden layers; it does nothing to predictions.
    """

    kind: ClassVar[str] = "dense"
    layers: Sequence[tuple[np.ndarray, np.ndarray]]
    dropout: float = 0.0

    def __repr__(self) -> str:
        return describe(self)

    @property
    def n_features(self) -> int:
        """D."""
        return self.layers[0][0].shape[0]

    @property
    def n_classes(self) -> int:
        """C; one unit is two classes."""
        return max(2, self.layers[-1][0].shape[1])

    def predict_proba(self, X: np.ndarray) -> np.ndarray:
        """Return probabilities, shape (N, C) float64."""
        hidden = X.astype(np.float32, copy=False)
        for weights, bias in self.layers[:-1]:
            hidden = np.maximum(hidden @ weights + bias, 0)
        weights, bias = self.layers[-1]
        return softmax(both_logits(hidden @ weights + bias))

    def scaled(self, factor: float) -> DensePredictor:
        """Return the head whose logits are those of this one times `factor`."""
        weights, bias = self.layers[-1]
        last = (weights * factor).astype(np.float32), (bias * factor).astype(np.float32)
        return replace(self, layers=(*self.layers[:-1], last))

    def linear(self) -> LinearPredictor | None:
        """Return the head as a linear one; None if it has hidden layers."""
        if len(self.layers) > 1:
            return None
        weights, bias = self.layers[0]
        return LinearPredictor(both_logits(weights), both_logits(bias))

    def dense_layers(self) -> Layers:
        """Return the head as layers of a network, ReLU between them, the last a unit a class."""
        weights, bias = self.layers[-1]
        return (*self.layers[:-1], (both_logits(weights), both_logits(bias)))

    def keras_model(self) -> Any:
        """Return the head as a Keras model of Dense and Dropout layers."""
        keras = import_keras()
        stack: list[Any] = [keras.Input((self.layers[0][0].shape[0],), name="embedding")]
        for weights, _ in self.layers[:-1]:
            stack.append(keras.layers.Dense(weights.shape[1], activation="relu"))
            if self.dropout:
                stack.append(keras.layers.Dropout(self.dropout))
        units = self.layers[-1][0].shape[1]
        activation = "sigmoid" if units == 1 else "softmax"
        stack.append(keras.layers.Dense(units, activation=activation, name="probabilities"))
        model = keras.Sequential(stack)
        model.set_weights([array for layer in self.layers for array in layer])
        return model

    def parts(self) -> dict[str, bytes]:
        """Return the files that a run keeps: ``head.h5`` to predict, ``head.keras`` to go on."""
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "head.keras"
            with warnings.catch_warnings():  # Keras converts its variables as NumPy 1 did
                warnings.simplefilter("ignore", DeprecationWarning)
                self.keras_model().save(path)
            model = path.read_bytes()
        linear = self.linear()
        return {**(linear.parts() if linear else self._arrays()), "head.keras": model}

    def _arrays(self) -> dict[str, bytes]:
        """Return the file with ``weights_0``, ``bias_0``, ``weights_1`` …."""
        arrays = {}
        for i, (weights, bias) in enumerate(self.layers):
            arrays |= {f"weights_{i}": np.float32(weights), f"bias_{i}": np.float32(bias)}
        return head_parts(self.kind, arrays)

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, np.ndarray]) -> DensePredictor:
        """Return the head with ``weights_0``, ``bias_0``, ``weights_1`` …, if they fit."""
        depth = sum(name.startswith("weights_") for name in arrays)
        layers = tuple((arrays[f"weights_{i}"], arrays[f"bias_{i}"]) for i in range(depth))
        if not _chained(layers):
            raise ValueError("its layers do not fit")
        return cls(layers)


def _chained(layers: Sequence[tuple[np.ndarray, np.ndarray]]) -> bool:
    """Return whether there are layers, of which each takes what the one before gives."""
    units = None
    for weights, bias in layers:
        fits = weights.ndim == 2 and bias.shape == weights.shape[1:]
        fits = fits and weights.dtype == bias.dtype == np.float32
        if not fits or units not in (None, weights.shape[0]):
            return False
        units = weights.shape[1]
    return units is not None


def _fit(
    problems: Problems,
    grid: Mapping[str, Sequence[float]],
    hidden: Sequence[int],
    dropout: float,
    output: str,
) -> Iterator[PredictorPoint]:
    """Train a dense head on every weighting of the rows, with AdamW and early stopping.

    Features are centred and scaled by a problem's own rows; this is folded into the first layer
    afterwards. A fifth of the rows (groups stay whole) is held out: training stops when their log
    loss has not fallen for 10 epochs. A head then learns from all rows, from the beginning and for
    as many epochs as were best; of more than 1,000 rows a fifth more tells it little, and the
    weights of the best epoch are kept. If no class has two groups, nothing can be held out, and it
    learns for 30 epochs. The seed is that of the first weights, the order of rows, dropout and the
    rows held out.
    """
    hidden, C = tuple(hidden), problems.n_classes
    if dropout and not hidden:
        raise FitError(
            f"a dropout of {dropout} without hidden layers.", "Add --hidden 256, or leave it out."
        )
    if output == "sigmoid" and C != 2:
        raise FitError(f"a sigmoid output for {C} classes.", "Use --output softmax.")
    units = 1 if output == "sigmoid" else C
    trainer = _Trainer(problems.X, problems.y, hidden, dropout, units, problems.seed)
    heads = []
    for w in problems.weights:
        layers = trainer.train(np.flatnonzero(w > 0), w, problems.groups)
        heads.append(DensePredictor(layers, dropout))
        problems.progress(len(heads), len(problems.weights))
    params = {"hidden": list(hidden), "dropout": dropout, "output": output}
    yield PredictorPoint(params, problems.X, heads)


class _Trainer:
    """One Keras network and one compiled epoch, which all problems use in turn.

    `keras.Model.fit` costs about a second a problem to compile and 3 ms a batch; here the loop
    over batches is inside one graph, traced once.
    """

    def __init__(
        self,
        X: np.ndarray,
        y: np.ndarray,
        hidden: tuple[int, ...],
        dropout: float,
        units: int,
        seed: int,
    ) -> None:
        keras, tf = import_keras(), import_tensorflow()
        self.tf, self.seed, self.units = tf, seed, units
        self.y = y
        self.X = X.astype(np.float32, copy=False)
        self.first: list[Any] = []
        stack: list[Any] = [keras.Input((X.shape[1],))]
        for i, width in enumerate((*hidden, units)):
            last = i == len(hidden)
            # The last layer starts at zero: the first loss is that of equal probabilities.
            start = "zeros" if last else keras.initializers.HeNormal(seed=seed + i)
            activation = None if last else "relu"
            stack.append(keras.layers.Dense(width, activation=activation, kernel_initializer=start))
            if dropout and not last:
                stack.append(keras.layers.Dropout(dropout, seed=seed + i))
        self.model = keras.Sequential(stack)
        rate = min(_RATE / np.sqrt(X.shape[1]), _MAX_RATE)
        self.optimizer = keras.optimizers.AdamW(rate, weight_decay=_DECAY)
        self.optimizer.exclude_from_weight_decay(var_names=["bias"])
        self.optimizer.build(self.model.trainable_variables)
        self.state = [*self.model.variables, *self.optimizer.variables]
        self.initial = [variable.numpy() for variable in self.state]
        floats, labels = tf.TensorSpec([None, X.shape[1]]), tf.TensorSpec([None], tf.int32)
        vector = tf.TensorSpec([None])
        self.epoch = tf.function(
            self._epoch, input_signature=[floats, labels, vector, tf.TensorSpec([None], tf.int32)]
        )
        self.loss = tf.function(self._loss, input_signature=[floats, labels, vector])

    def train(self, rows: np.ndarray, weight: np.ndarray, groups: np.ndarray) -> Layers:
        """Train on `rows`; return the layers on raw features."""
        fold, n = inner_folds(self.y[rows], groups[rows], _HELD, self.seed)
        learn, held = rows[fold != 0], rows[fold == 0]
        epochs = _WAIT_FLAT
        if n and len(np.unique(self.y[learn])) > 1:
            layers, epochs = self._stop_early(learn, held, weight)
            if len(rows) > _REFIT:
                return layers
        scaling = self._start(rows)
        training = self._tensors(rows, weight / weight[rows].mean(), scaling)
        rng = np.random.default_rng(self.seed)
        for _ in range(epochs):
            self.epoch(*training, self._order(rng, len(rows)))
        return _folded(self.model.get_weights(), *scaling)

    def _stop_early(
        self, learn: np.ndarray, held: np.ndarray, weight: np.ndarray
    ) -> tuple[Layers, int]:
        """Train on `learn` until the loss on `held` falls no more; return the best epoch, too."""
        scaling = self._start(learn)
        weight = weight / weight[learn].mean()
        training, validation = (self._tensors(part, weight, scaling) for part in (learn, held))
        rng = np.random.default_rng(self.seed)
        best, kept, epoch_kept = np.inf, self.model.get_weights(), 0
        for epoch in range(1, _MAX_EPOCHS + 1):
            self.epoch(*training, self._order(rng, len(learn)))
            loss = float(self.loss(*validation))
            if loss < best:
                best, kept, epoch_kept = loss, self.model.get_weights(), epoch
            elif epoch - epoch_kept >= _PATIENCE:
                break
        return _folded(kept, *scaling), epoch_kept

    def _start(self, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Put the network where all trainings begin; return mean and scale (D,) of the rows."""
        for variable, value in zip(self.state, self.initial, strict=True):
            variable.assign(value)
        mean, scale = fit_scaling(self.X[rows])
        return mean.astype(np.float32), scale.astype(np.float32)

    def _tensors(
        self, part: np.ndarray, weight: np.ndarray, scaling: tuple[np.ndarray, np.ndarray]
    ) -> tuple[Any, Any, Any]:
        """Return scaled features, labels and weights of rows."""
        Z = (self.X[part] - scaling[0]) / scaling[1]
        arrays = Z, self.y[part].astype(np.int32), np.float32(weight[part])
        return tuple(map(self.tf.constant, arrays))

    def _order(self, rng: np.random.Generator, n: int) -> Any:
        return self.tf.constant(rng.permutation(n).astype(np.int32))

    def _epoch(self, Z: Any, y: Any, weight: Any, order: Any) -> None:
        tf = self.tf
        # The same number of rows in each batch, so that none is a small and noisy one.
        count = tf.shape(order)[0]
        size = tf.clip_by_value(count // 16, *_BATCH)
        batches = tf.maximum((count + size // 2) // size, 1)
        for i in tf.range(batches):
            part = order[i * count // batches : (i + 1) * count // batches]
            with tf.GradientTape() as tape:
                logits = self.model(tf.gather(Z, part), training=True)
                loss = self._mean(logits, tf.gather(y, part), tf.gather(weight, part))
            variables = self.model.trainable_variables
            gradients = tape.gradient(loss, variables)
            self.optimizer.apply_gradients(zip(gradients, variables, strict=True))

    def _loss(self, Z: Any, y: Any, weight: Any) -> Any:
        return self._mean(self.model(Z, training=False), y, weight)

    def _mean(self, logits: Any, y: Any, weight: Any) -> Any:
        """Return the weighted log loss."""
        nn, tf = self.tf.nn, self.tf
        if self.units == 1:
            each = nn.sigmoid_cross_entropy_with_logits(tf.cast(y, tf.float32), logits[:, 0])
        else:
            each = nn.sparse_softmax_cross_entropy_with_logits(y, logits)
        return tf.reduce_sum(weight * each) / tf.cast(tf.shape(y)[0], tf.float32)


def _folded(arrays: Sequence[np.ndarray], mean: np.ndarray, scale: np.ndarray) -> Layers:
    """Return the layers, the scaling folded into the first."""
    layers = list(zip(arrays[::2], arrays[1::2], strict=True))
    weights, bias = layers[0]
    folded = weights / scale[:, None].astype(np.float64)
    offset = bias - mean @ folded
    layers[0] = folded.astype(np.float32), offset.astype(np.float32)
    return tuple(layers)


HEAD = Head(
    name="dense",
    help="dense layers, trained by Keras",
    estimator="DenseHead",
    notes=(
        "AdamW on batches, for as many epochs as were best for a fifth of the rows held out; up "
        "to 1,000 rows are then all learned from. Without hidden layers the head is linear."
    ),
    fit=_fit,
    predictors=(DensePredictor, LinearPredictor),
    options=(
        Option(
            "hidden",
            "Units of a hidden layer; several with commas or by repeating the option",
            tuple,
            (),
            fits=lambda value: all(units >= 1 for units in value),
            allowed="positive numbers, such as 256",
        ),
        Option(
            "dropout",
            "Share of hidden values dropped in training",
            float,
            0.0,
            fits=lambda value: 0 <= value < 1,
            allowed="a number from 0 to below 1, such as 0.3",
        ),
        Option(
            "output",
            "Last layer; the sigmoid is for two classes",
            str,
            "softmax",
            choices=("softmax", "sigmoid"),
        ),
        CLASS_WEIGHT,
    ),
    random=True,
    seeds=True,
    cost=30,
)
