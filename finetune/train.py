"""Train the top of a network over cached activations, never ending worse than it began.

Everything that makes an epoch differ between training and inference is off: BatchNorm uses its
stored statistics, dropout and stochastic depth do nothing. With the few images of transfer learning
batch statistics are noise, and with a constant trunk they would make cached and uncached training
differ. The scale and shift of BatchNorm are trained like any other weight.
"""

from __future__ import annotations

import functools
import hashlib
import io
import json
import math
import time
import zipfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from ..cache.files import write_atomic
from ..cache.identity import canonical_json
from ..classify.heads.linear import softmax
from ..classify.heads.weighting import class_weights
from ..classify.scoring.metrics import image_loss
from ..lazy_imports import import_keras, import_tensorflow
from .batchnorm import fold_batchnorm
from .distribute import Devices, mirror, on_every_device, open_devices
from .settings import Epoch, Settings, Training

if TYPE_CHECKING:
    import keras

WARM_UP = 0.1  # share of all steps
_CHECKPOINT_VERSION = 2


class Activations(Protocol):
    """Random access to N boundary activations, such as `tlx.cache.rows.RowReader`."""

    def __len__(self) -> int: ...

    def read(self, rows: Any) -> np.ndarray:
        """Return activations (m, …)."""
        ...


def train(
    top: keras.Model,
    train_rows: Activations,
    y: np.ndarray,
    held_out: Activations,
    y_held_out: np.ndarray,
    settings: Settings,
    *,
    devices: Devices | None = None,
    checkpoint: Path | None = None,
    on_epoch: Callable[[Epoch, float], None] = lambda epoch, seconds_left: None,
) -> Training:
    """Train `top` and leave in it the weights of the trained epoch with the lowest validation loss.

    The head before any step is epoch 0. It is what later epochs must fall below for the training to
    go on; whether the best of them is kept instead of it is for `tlx.finetune.verdict` to say.

    Parameters
    ----------
    top : keras.Model
        Boundary activations to logits (B, C).
    train_rows : Activations
        Activations of the N training images.
    y : ndarray of shape (N,), int
    held_out : Activations
        Activations of the M held-out images.
    y_held_out : ndarray of shape (M,), int
    settings : Settings
    devices : Devices, optional
        What to train on; by default what ``settings.strategy`` comes to.
    checkpoint : Path, optional
        Where to keep the state after each epoch. If it holds the state of the very same training,
        that is taken up. It is the caller who removes it, when the result is safe.
    on_epoch : callable, optional
        Called after each epoch with its numbers and the seconds left at most.

    Returns
    -------
    Training
    """
    devices = devices or open_devices(settings.strategy)
    started = time.perf_counter()
    loop = Loop(top, y, settings, devices)
    state = loop.restore(checkpoint) if checkpoint else None
    if state is None:
        state = Training()
        _record(state, loop, 0, None, predict_logits(top, held_out), y_held_out, started)
        on_epoch(state.epochs[0], 0.0)
    try:
        while _goes_on(state, settings):
            number, started = len(state.epochs), time.perf_counter()
            loss = loop.epoch(number, train_rows, y)
            logits = predict_logits(top, held_out)
            _record(state, loop, number, loss, logits, y_held_out, started)
            if checkpoint and devices.worker == 0 and not state.diverged:
                loop.save(checkpoint, state)
            seconds = [epoch.seconds for epoch in state.epochs[-3:] if epoch.epoch]
            left = (settings.epochs - number) * sum(seconds) / len(seconds)
            on_epoch(state.epochs[-1], left)
    except KeyboardInterrupt:
        state.interrupted = True
    if state.best_epoch:
        loop.assign(state.best_weights)
    else:
        loop.assign(loop.start)  # Ctrl-C in the first epoch
    return state


def _goes_on(state: Training, settings: Settings) -> bool:
    left = len(state.epochs) <= settings.epochs and state.stale < settings.patience
    return left and not state.diverged


def predict_logits(top: keras.Model, rows: Activations, batch_size: int = 64) -> np.ndarray:
    """Return the logits that `top` gives to stored activations, shape (N, C) float32."""
    forward = _forward(top)
    batches = np.split(np.arange(len(rows)), range(batch_size, len(rows), batch_size))
    return np.concatenate([forward(x).numpy() for x in _ahead(rows, batches)])


def log_loss(y: np.ndarray, logits: np.ndarray) -> float:
    """Return the mean of -log p(true class), p clipped as scikit-learn clips it."""
    own = softmax(logits)[np.arange(len(y)), y]
    return float(image_loss(own).mean())


def epoch_order(n: int, seed: int, epoch: int) -> np.ndarray:
    """Return the order of the images in an epoch, a function of its arguments alone."""
    return np.random.default_rng((seed, epoch)).permutation(n)


def learning_rate(step: int, total: int, peak: float) -> float:
    """Return the rate of a step (from 0): linear warm-up, then half a cosine down to zero."""
    warm_up = max(1, round(WARM_UP * total))
    if step < warm_up:
        return peak * (step + 1) / warm_up
    return peak * 0.5 * (1 + math.cos(math.pi * (step - warm_up) / max(1, total - warm_up)))


def average_weights(
    top: keras.Model,
    start: list[np.ndarray],
    held_out: Activations,
    y: np.ndarray,
    points: int = 11,
) -> tuple[float, np.ndarray]:
    """Move `top` to the best point on the line between two sets of weights.

    The line goes from `start` (0) to the weights that `top` has (1); the point with the lowest loss
    on the held-out images is taken. Weights between those of a pre-trained and of a fine-tuned
    network are often better than either [1]_.

    Returns
    -------
    point : float
        0 to 1.
    logits : ndarray of shape (points, M, C), float32
        Of the held-out images, at each point of the line.

    References
    ----------
    .. [1] M. Wortsman et al. (2022), Robust fine-tuning of zero-shot models, CVPR.
    """
    end = [weight.numpy() for weight in top.trainable_variables]
    logits = []
    line = np.linspace(0, 1, points)
    for share in line:
        _assign(top, [a + np.float32(share) * (b - a) for a, b in zip(start, end, strict=True)])
        logits.append(predict_logits(top, held_out))
    best = float(line[int(np.argmin([log_loss(y, one) for one in logits]))])
    _assign(top, [a + np.float32(best) * (b - a) for a, b in zip(start, end, strict=True)])
    return best, np.stack(logits)


def training_key(facts: dict[str, Any]) -> str:
    """Return a name for the checkpoint of a training: the same facts, the same name."""
    return hashlib.sha256(canonical_json(facts).encode()).hexdigest()[:24]


class Loop:
    """The compiled step and everything that changes with it."""

    def __init__(
        self, top: keras.Model, y: np.ndarray, settings: Settings, devices: Devices
    ) -> None:
        keras = import_keras()
        self._top = top
        self._settings = settings
        self._steps = -(-len(y) // settings.batch_size)
        self._devices, self._strategy = devices, devices.strategy
        self._trained, self._variables = top, list(top.trainable_variables)
        if self._strategy:
            self._trained, self._variables = mirror(top, self._strategy)
        with self._strategy.scope() if self._strategy else nullcontext():
            self._optimizer = keras.optimizers.AdamW(
                settings.lr, weight_decay=settings.weight_decay
            )
            self._optimizer.exclude_from_weight_decay(
                var_list=[v for v in self._variables if len(v.shape) < 2]
            )
            self._optimizer.build(self._variables)
        self.start = self.weights()
        self._weights = class_weights(y, settings.class_weight).astype(np.float32)
        self._step = self._compile()

    def epoch(self, number: int, rows: Activations, y: np.ndarray) -> float:
        """Go through all images once; return the mean loss by image."""
        settings, tf = self._settings, import_tensorflow()
        order = epoch_order(len(y), settings.seed, number)
        batches = np.split(order, range(settings.batch_size, len(order), settings.batch_size))
        total, first = 0.0, (number - 1) * self._steps
        for place, (batch, x) in enumerate(zip(batches, _ahead(rows, batches), strict=True)):
            rate = learning_rate(first + place, settings.epochs * self._steps, settings.lr)
            loss = self._step(
                tf.constant(x),
                tf.constant(y[batch], tf.int32),
                tf.constant(self._weights[batch]),
                tf.constant(rate, tf.float32),
            )
            total += float(loss) * len(batch)
        if self._strategy:
            _assign(self._top, self.weights())
        return total / len(order)

    def weights(self) -> list[np.ndarray]:
        """Return the trainable weights as they are now."""
        return [variable.numpy() for variable in self._variables]

    def assign(self, values: list[np.ndarray]) -> None:
        """Set the weights, those on all devices too."""
        _assign(self._top, values)
        if self._strategy:
            for variable, value in zip(self._variables, values, strict=True):
                variable.assign(value)

    def agreed(self, loss: float) -> float:
        """Return the first worker's loss, so that all stop and keep the same epoch."""
        return self._devices.gather(loss)[0]

    def save(self, path: Path, state: Training) -> None:
        """Keep all that the next epoch depends on; its order of images depends on its number."""
        arrays = {f"weight{i}": value for i, value in enumerate(self.weights())}
        arrays |= {f"best{i}": value for i, value in enumerate(state.best_weights)}
        arrays |= {f"optimizer{i}": v.numpy() for i, v in enumerate(self._optimizer.variables)}
        arrays["logits"] = np.stack(state.logits)
        told = {
            "version": _CHECKPOINT_VERSION,
            "epochs": [asdict(epoch) for epoch in state.epochs],
            "best_epoch": state.best_epoch,
            "stale": state.stale,
        }
        arrays["state"] = np.frombuffer(json.dumps(told).encode(), np.uint8)
        buffer = io.BytesIO()
        np.savez(buffer, allow_pickle=False, **arrays)
        write_atomic(path, buffer.getvalue())

    def restore(self, path: Path) -> Training | None:
        """Take up the state that `save` wrote; None if there is none that all workers can read."""
        found = self._read(path)
        if len(set(self._devices.gather(len(found[0].epochs) if found else 0))) > 1 or not found:
            return None
        state, weights, optimizer = found
        self.assign(weights)
        for variable, value in zip(self._optimizer.variables, optimizer, strict=True):
            variable.assign(value)
        return state

    def _read(self, path: Path) -> tuple[Training, list[np.ndarray], list[np.ndarray]] | None:
        """Return the state, weights and variables of the optimizer in a checkpoint, if it fits."""
        try:
            with np.load(io.BytesIO(path.read_bytes()), allow_pickle=False) as arrays:
                told = json.loads(arrays["state"].tobytes())
                weights = [arrays[f"weight{i}"] for i in range(len(self._variables))]
                best = [arrays[f"best{i}"] for i in range(len(self._variables))]
                optimizer = [arrays[f"optimizer{i}"] for i in range(len(self._optimizer.variables))]
                logits = list(arrays["logits"])
            if told["version"] != _CHECKPOINT_VERSION:
                return None
            epochs = [Epoch(**epoch) for epoch in told["epochs"]]
            pairs = [*zip(self._variables, weights, strict=True)]
            pairs += zip(self._optimizer.variables, optimizer, strict=True)
            if any(tuple(variable.shape) != value.shape for variable, value in pairs):
                return None
            if len(logits) != len(epochs):
                return None
        except (OSError, EOFError, KeyError, ValueError, TypeError, zipfile.BadZipFile):
            return None
        resumed_at = len(epochs) - 1
        state = Training(epochs, told["best_epoch"], best, told["stale"], resumed_at=resumed_at)
        state.logits = logits
        return state, weights, optimizer

    def _compile(self) -> Any:
        tf = import_tensorflow()
        model, optimizer, variables = (
            fold_batchnorm(self._trained),
            self._optimizer,
            self._variables,
        )
        smoothing, classes = self._settings.label_smoothing, model.output_shape[-1]

        def descend(x: Any, y: Any, weight: Any, n: Any) -> Any:
            """Take a step down the loss; x may be part of the batch of `n` images."""
            target = tf.one_hot(y, classes) * (1 - smoothing) + smoothing / classes
            with tf.GradientTape() as tape:
                logits = model(tf.cast(x, tf.float32), training=False)
                losses = tf.nn.softmax_cross_entropy_with_logits(target, logits)
                loss = tf.reduce_sum(losses * weight) / n
            optimizer.apply(tape.gradient(loss, [v.value for v in variables]), variables)
            return loss

        run = on_every_device(descend, self._strategy) if self._strategy else descend

        @tf.function(jit_compile=False, reduce_retracing=True)
        def step(x: Any, y: Any, weight: Any, rate: Any) -> Any:
            optimizer.learning_rate.assign(rate)
            return run(x, y, weight, tf.cast(tf.shape(y)[0], tf.float32))

        return step


def _record(
    state: Training,
    loop: Loop,
    number: int,
    train_loss: float | None,
    logits: np.ndarray,
    y: np.ndarray,
    started: float,
) -> None:
    """Score the held-out images and note the epoch; keep its weights if it is the best trained."""
    loss = loop.agreed(log_loss(y, logits))
    accuracy = float((logits.argmax(axis=1) == y).mean())
    lowest = min((epoch.val_loss for epoch in state.epochs), default=math.inf)
    state.diverged = not math.isfinite(loss) or not math.isfinite(train_loss or 0.0)
    best = loss < lowest and not state.diverged
    state.stale = 0 if best else state.stale + 1
    before = [epoch.val_loss for epoch in state.epochs if epoch.epoch]
    if number and not state.diverged and all(loss < earlier for earlier in before):
        state.best_epoch, state.best_weights = number, loop.weights()
    if not state.diverged:
        state.logits.append(logits)
    seconds = time.perf_counter() - started
    state.epochs.append(Epoch(number, train_loss, loss, accuracy, seconds, best))


def _ahead(rows: Activations, batches: list[np.ndarray]) -> Iterator[np.ndarray]:
    """Yield the activations of each batch, reading the next one meanwhile."""
    with ThreadPoolExecutor(1, thread_name_prefix="tlx-read") as executor:
        future = executor.submit(rows.read, batches[0])
        for batch in batches[1:]:
            x, future = future.result(), executor.submit(rows.read, batch)
            yield x
        yield future.result()


@functools.lru_cache(maxsize=1)
def _forward(top: keras.Model) -> Any:
    """Return `top` compiled for inference; the last one is kept, as it is asked for again."""
    tf, model = import_tensorflow(), fold_batchnorm(top)

    @tf.function(jit_compile=False, reduce_retracing=True)
    def forward(x: Any) -> Any:
        return model(tf.cast(x, tf.float32), training=False)

    return forward


def _assign(top: keras.Model, values: list[np.ndarray]) -> None:
    for variable, value in zip(top.trainable_variables, values, strict=True):
        variable.assign(value)
