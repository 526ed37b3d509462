"""Train on several devices at once: a copy of the top on each, gradients summed over all of them.

Each device takes part of every batch, and the loss is divided by the images of the whole batch, so
losses and weights are those of a single device up to rounding. The devices are those of this
machine, or of all machines that the environment variable ``TF_CONFIG`` names: each then runs the
same command in a process of its own.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from ..errors import FitError
from ..lazy_imports import import_keras, import_tensorflow

if TYPE_CHECKING:
    import keras

STRATEGIES = ("none", "mirrored")
_EXAMPLE: Final = (
    'TF_CONFIG=\'{"cluster": {"worker": ["HOST1:2222", "HOST2:2222"]}, '
    '"task": {"type": "worker", "index": 0}}\''
)


@dataclass(frozen=True)
class Devices:
    """What a training runs on.

    Attributes
    ----------
    names : list of str
        Such as ``["GPU:0", "GPU:1"]``; the addresses of the workers if there are several.
    strategy : tf.distribute.Strategy or None
        None if a single device trains.
    worker, workers : int
        Which of how many processes this is, from 0. The first one writes what is kept.
    """

    names: list[str]
    strategy: Any = None
    worker: int = 0
    workers: int = 1

    def gather(self, value: float) -> list[float]:
        """Return what each worker has for `value`, after waiting for all of them."""
        if self.workers == 1:
            return [value]
        tf = import_tensorflow()
        with self.in_step():
            parts = self.strategy.run(lambda: tf.constant([value], tf.float64))
            values = self.strategy.gather(parts, axis=0).numpy().tolist()
        return values[:: len(values) // self.workers]

    def check_same(self, key: str) -> None:
        """Raise a `FitError` on all workers if they do not have the same hexadecimal `key`."""
        if len(set(self.gather(int(key[:13], 16)))) > 1:  # exact in float64
            raise FitError(
                "the workers do not train the same: images, cut or settings differ.",
                "Run the same command on the same images on each of them.",
            )

    @contextmanager
    def in_step(self) -> Iterator[None]:
        """Raise a `FitError` if another worker stops meanwhile."""
        try:
            yield
        except import_tensorflow().errors.OpError as error:
            if self.workers == 1:
                raise
            raise FitError(
                "another worker stopped, and a training in step needs all of them.",
                "Run the same command on all of them again: it goes on after the last epoch.",
            ) from error


def open_devices(
    strategy: str = "none", tell: Callable[[str], None] = lambda text: None
) -> Devices:
    """Return the devices that a training is to use.

    Parameters
    ----------
    strategy : {"none", "mirrored"}
        ``"none"`` uses the first device alone. ``"mirrored"`` uses all GPUs that TensorFlow sees,
        or all logical CPU devices (one, unless the process has configured more) where there is no
        GPU; on all the machines of ``TF_CONFIG`` if it is set. Then TensorFlow must not have
        computed anything yet in this process.
    tell : callable, optional
        Called with a line of text before waiting for other machines.

    Raises
    ------
    FitError
        If ``TF_CONFIG`` makes no sense, or comes too late.
    """
    tf = import_tensorflow()
    worker, addresses = _cluster() if strategy == "mirrored" else (0, [])
    if len(addresses) > 1:
        tell(f"This is worker {worker} of {', '.join(addresses)}. All must be there to begin.")
        try:
            opened = tf.distribute.MultiWorkerMirroredStrategy()
        except (RuntimeError, ValueError, tf.errors.OpError) as error:
            raise FitError(
                f"the workers of TF_CONFIG cannot be joined: {error}",
                "Start a new process on each of them, with the same addresses.",
            ) from error
        return Devices(addresses, opened, worker, len(addresses))
    logical = tf.config.list_logical_devices("GPU") or tf.config.list_logical_devices("CPU")
    names = [device.name.removeprefix("/device:") for device in logical]
    if strategy == "none" or len(names) == 1:
        return Devices(names[:1])
    return Devices(names, tf.distribute.MirroredStrategy(names))


def _cluster() -> tuple[int, list[str]]:
    """Return the place of this process among the workers of ``TF_CONFIG``, and their addresses."""
    text = os.environ.get("TF_CONFIG")
    if not text:
        return 0, []
    try:
        told = json.loads(text)
        groups = {kind: list(told["cluster"].get(kind, [])) for kind in ("chief", "worker")}
        kind, index = told["task"]["type"], int(told["task"]["index"])
        own = groups[kind][index] if index >= 0 else None
        addresses = [*groups["chief"], *groups["worker"]]
        return addresses.index(own), addresses
    except (ValueError, TypeError, KeyError, IndexError, AttributeError) as error:
        raise FitError(
            f"TF_CONFIG does not say which worker this is: {text}", f"Such as {_EXAMPLE}"
        ) from error


def mirror(model: keras.Model, strategy: Any) -> tuple[keras.Model, list[Any]]:
    """Return a copy of a model with its weights on every device.

    Variables belong to a strategy from their creation on, so those of `model`, which share its
    layers with the frozen trunk and the whole network, cannot join one later.

    Returns
    -------
    copy : keras.Model
    variables : list of keras.Variable
        Trainable, in the order of ``model.trainable_variables``.
    """
    keras = import_keras()
    with strategy.scope():
        copy = keras.models.clone_model(model)
        twins = {}
        for layer in (layer for layer in model.layers if layer.weights):
            weights = copy.get_layer(layer.name).weights
            for old, new in zip(layer.weights, weights, strict=True):
                new.assign(old.numpy())
                twins[id(old)] = new
    return copy, [twins[id(variable)] for variable in model.trainable_variables]


def on_every_device(step: Callable[..., Any], strategy: Any) -> Callable[..., Any]:
    """Return ``step(x, y, weight, n)`` of a batch of `n`, done in parts; what it returns is summed.

    Device i of R takes images i, i + R, …. What is missing to a multiple of R is filled up with
    images of weight 0: kernels for empty batches are little used and not to be relied on.
    """
    tf = import_tensorflow()
    R = strategy.num_replicas_in_sync

    def part(x: Any, y: Any, weight: Any, n: Any) -> Any:
        count = tf.shape(y)[0]
        first = tf.distribute.get_replica_context().replica_id_in_sync_group
        place = tf.range(first, (count + R - 1) // R * R, R)
        own = place % count
        weight = tf.gather(weight, own) * tf.cast(place < count, tf.float32)
        return step(tf.gather(x, own), tf.gather(y, own), weight, n)

    def run(*arguments: Any) -> Any:
        return strategy.reduce("SUM", strategy.run(part, arguments), axis=None)

    return run
