"""Train on several devices at once: a copy of the top on each, gradients summed over all of them.

Each device takes part of every batch, and the loss is divided by the images of the whole batch, so
losses and weights are those of a single device up to rounding. Machines are not joined: for that
each would have to hold the activations, and all would have to stop in the same epoch.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from ..embed.quiet import import_keras, import_tensorflow

if TYPE_CHECKING:
    import keras

STRATEGIES = ("none", "mirrored")


def training_devices(strategy: str) -> list[str]:
    """Return the devices that a training uses, such as ``["GPU:0", "GPU:1"]``.

    Parameters
    ----------
    strategy : {"none", "mirrored"}
        ``"none"`` uses the first device alone; ``"mirrored"`` all GPUs that TensorFlow sees, or all
        logical CPU devices (one, unless the process has configured more) where there is no GPU.
    """
    tf = import_tensorflow()
    logical = tf.config.list_logical_devices("GPU") or tf.config.list_logical_devices("CPU")
    names = [device.name.removeprefix("/device:") for device in logical]
    return names if strategy == "mirrored" else names[:1]


def open_strategy(strategy: str) -> Any:
    """Return a `tf.distribute.MirroredStrategy`; None if a single device is to train."""
    if strategy == "none":
        return None
    devices = training_devices(strategy)
    return import_tensorflow().distribute.MirroredStrategy(devices) if len(devices) > 1 else None


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
