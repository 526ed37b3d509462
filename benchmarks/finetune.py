"""Fine-tuning over cached activations against Keras `fit` of the same layers on the whole network.

    python benchmarks/finetune.py DATA --unfreeze 20

Both sides start from the same head, have the same trainable layers, optimizer, learning rates, and
order of images. Epochs are timed in turn (tlx, arrays, files, tlx, …) and the least of each is
quoted, as other work on the machine only ever adds.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from tlx.cache.spec import FeatureSpec
from tlx.classify.fit import fit_head
from tlx.classify.runs.backbone import run_backbone
from tlx.classify.runs.store import list_runs
from tlx.embed.backbones.tap import feature_model
from tlx.embed.images import decode_image
from tlx.embed.pipeline import embed_images
from tlx.finetune.boundary import Boundary
from tlx.finetune.cut import choose_cut
from tlx.finetune.distribute import open_devices
from tlx.finetune.export import whole_model
from tlx.finetune.prepare import find_seed, hold_out
from tlx.finetune.seed import attach_head
from tlx.finetune.settings import Settings
from tlx.finetune.train import (
    Activations,
    Loop,
    epoch_order,
    learning_rate,
    log_loss,
    predict_logits,
)
from tlx.lazy_imports import import_keras, import_tensorflow
from tlx.workspace import Workspace


class Side:
    """One network with the head on it, in its starting state."""

    def __init__(self, workspace: Workspace, unfreeze: str) -> None:
        self.run = find_seed(workspace, "best")
        self.held = hold_out(workspace, self.run, 0)
        self.spec = FeatureSpec.from_json(self.run.source["spec"])
        self.backbone = run_backbone(self.run, self.run.source)
        features = feature_model(self.backbone, self.spec)
        self.choice = choose_cut(features, unfreeze)
        self.network = attach_head(features, self.choice.cut, self.held.head)


def keras_fit_model(side: Side, settings: Settings, steps: int):
    """Return the whole network, compiled for `fit` with only the top trainable."""
    keras = import_keras()
    model = side.network.whole()
    top = {id(layer) for layer in side.network.top.layers}
    for layer in model.layers:
        norm = isinstance(layer, keras.layers.BatchNormalization)
        layer.trainable = id(layer) in top
        if norm and id(layer) in top:
            _freeze_statistics(layer)
    optimizer = keras.optimizers.AdamW(settings.lr, weight_decay=settings.weight_decay)
    optimizer.exclude_from_weight_decay(
        var_list=[v for v in model.trainable_variables if len(v.shape) < 2]
    )
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(optimizer, loss)
    total = settings.epochs * steps

    class Rates(keras.callbacks.Callback):
        step = 0

        def on_train_batch_begin(self, batch, logs=None):
            self.model.optimizer.learning_rate = learning_rate(self.step, total, settings.lr)
            self.step += 1

    return model, Rates()


def _freeze_statistics(layer) -> None:
    """Let a BatchNormalization use its stored statistics while scale and shift are trained."""
    call = layer.call
    layer.call = lambda inputs, training=None, mask=None: call(inputs, training=False)


def batches(side: Side, order: np.ndarray, batch_size: int, pixels: np.ndarray):
    """Yield (pixels, labels) of the rows `order`."""
    for first in range(0, len(order), batch_size):
        part = order[first : first + batch_size]
        yield pixels[part], side.held.table.y[part]


def read_files(side: Side, order: np.ndarray, batch_size: int):
    """Return a tf.data pipeline that reads as `keras.utils.image_dataset_from_directory` does.

    It decodes on all cores while the network computes.
    """
    tf = import_tensorflow()
    table, size = side.held.table, side.spec.image_size
    files = [os.path.join(table.root, table.paths[row]) for row in order]

    def read(path, label):
        pixels = tf.io.decode_image(tf.io.read_file(path), 3, expand_animations=False)
        pixels = tf.image.resize(pixels, (size, size))
        pixels.set_shape((size, size, 3))
        return pixels, label

    found = tf.data.Dataset.from_tensor_slices((files, table.y[order]))
    found = found.map(read, num_parallel_calls=tf.data.AUTOTUNE)
    return found.batch(batch_size).prefetch(tf.data.AUTOTUNE)


def decode_all(side: Side) -> np.ndarray:
    table = side.held.table
    return np.stack(
        [
            decode_image(Path(table.root, path).read_bytes(), side.spec.image_size).pixels
            for path in table.paths
        ]
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path)
    parser.add_argument("--unfreeze", default="20")
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--workspace", type=Path)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        print(json.dumps(measure(arguments, Path(folder)), indent=1))


def measure(arguments: argparse.Namespace, folder: Path) -> dict:
    workspace = Workspace(arguments.workspace or folder / "ws")
    if not list_runs(workspace):
        embed_images(arguments.data, workspace=workspace.root)
        fit_head("logreg", workspace=workspace.root)
    settings = Settings(epochs=arguments.epochs, patience=99)

    ours = Side(workspace, arguments.unfreeze)
    table, rows = ours.held.table, ours.held.train
    boundary = Boundary(workspace, table, ours.backbone, ours.spec, ours.choice.cut)
    everything = np.arange(len(table))
    missing = boundary.missing(everything)
    boundary.compute(missing)
    trunk_seconds = boundary.seconds
    train_rows, held_out = boundary.reader(rows), boundary.reader(ours.held.rows)
    loop = Loop(ours.network.top, table.y[rows], settings, open_devices())
    steps = -(-len(rows) // settings.batch_size)

    theirs, from_files = Side(workspace, arguments.unfreeze), Side(workspace, arguments.unfreeze)
    pixels = decode_all(theirs)
    fit, rates = keras_fit_model(theirs, settings, steps)
    fit_files, rates_files = keras_fit_model(from_files, settings, steps)

    y_held = table.y[ours.held.rows]
    held_pixels = pixels[ours.held.rows]
    seconds: dict[str, list[float]] = {"tlx": [], "arrays": [], "files": []}
    losses: dict[str, list[float]] = {"tlx": [], "arrays": []}
    for epoch in range(1, settings.epochs + 1):
        started = time.perf_counter()
        loss = loop.epoch(epoch, train_rows, table.y[rows])
        validation = log_loss(y_held, predict_logits(ours.network.top, held_out))
        seconds["tlx"].append(time.perf_counter() - started)
        losses["tlx"] += [loss, validation]

        started = time.perf_counter()
        order = rows[epoch_order(len(rows), settings.seed, epoch)]
        arrays = batches(theirs, order, settings.batch_size, pixels)
        history = fit.fit(arrays, callbacks=[rates], verbose=0)
        validation = log_loss(y_held, fit.predict(held_pixels, batch_size=64, verbose=0))
        seconds["arrays"].append(time.perf_counter() - started)
        losses["arrays"] += [history.history["loss"][0], validation]

        started = time.perf_counter()
        training = read_files(from_files, order, settings.batch_size)
        fit_files.fit(training, callbacks=[rates_files], verbose=0)
        fit_files.predict(read_files(from_files, ours.held.rows, 64), verbose=0)
        seconds["files"].append(time.perf_counter() - started)
        print(f"epoch {epoch}", {k: v[-1] for k, v in seconds.items()}, losses, file=sys.stderr)

    return {
        "unfreeze": ours.choice.text,
        "images": [len(rows), len(y_held)],
        "trunk_images": len(missing),
        **speed(seconds, trunk_seconds),
        "losses": {k: [round(v, 6) for v in values] for k, values in losses.items()},
        "largest_loss_difference": float(
            np.abs(np.subtract(losses["tlx"], losses["arrays"])).max()
        ),
        "whole_against_trunk_and_top": parts_against_whole(ours, held_out, held_pixels),
        "peak_megabytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
        "seconds_to_first_epoch_of_a_second_run": first_epoch(workspace.root, arguments.unfreeze),
    }


def speed(seconds: dict[str, list[float]], trunk_seconds: float) -> dict:
    best = {name: min(values) for name, values in seconds.items()}
    five = 5 * best["tlx"] + trunk_seconds
    return {
        "epoch_seconds": {k: [round(v, 2) for v in values] for k, values in seconds.items()},
        "epoch_speedup_over_arrays": round(best["arrays"] / best["tlx"], 2),
        "epoch_speedup_over_files": round(best["files"] / best["tlx"], 2),
        "trunk_seconds": round(trunk_seconds, 2),
        "five_epochs_speedup_with_trunk": round(5 * best["arrays"] / five, 2),
    }


def parts_against_whole(ours: Side, held_out: Activations, held_pixels: np.ndarray) -> float:
    """Return the largest difference between trunk with top and the whole model, on 32 images."""
    logits = predict_logits(ours.network.top, held_out)[:32]
    parts = np.exp(logits - logits.max(1, keepdims=True))
    whole = whole_model(ours.network).predict(held_pixels[:32], verbose=0)
    return float(np.abs(whole - parts / parts.sum(1, keepdims=True)).max())


def first_epoch(workspace: Path, unfreeze: str) -> float:
    """Return the time from process start to the line of epoch 0, activations being there."""
    command = [sys.executable, "-m", "tlx", "finetune", "--workspace", str(workspace)]
    command += ["--unfreeze", unfreeze, "--lr", "2e-5", "--epochs", "1"]
    started = time.perf_counter()
    process = subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stderr is not None
    seconds = float("nan")
    for line in process.stderr:
        if line.startswith("epoch 0"):
            seconds = time.perf_counter() - started
    process.wait()
    return round(seconds, 2)


if __name__ == "__main__":
    main()
