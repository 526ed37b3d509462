"""Several devices train what one does: two logical CPU devices, in a process of their own."""

from __future__ import annotations

import json

import pytest

from tlx.errors import FitError
from tlx.finetune.distribute import open_devices

# 65 images in batches of 16: the last batch has one image, so the second device has none.
TWO_DEVICES = """
import json, os, sys
os.environ["CUDA_VISIBLE_DEVICES"] = "-1"
from dataclasses import replace
from pathlib import Path

import numpy as np
from tlx.lazy_imports import import_keras, import_tensorflow
tf = import_tensorflow()
[cpu] = tf.config.list_physical_devices("CPU")
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
from tlx.finetune.distribute import open_devices
from tlx.finetune.settings import Settings
from tlx.finetune.train import predict_logits, train
keras = import_keras()

class Stored:
    def __init__(self, values):
        self.values = values
    def __len__(self):
        return len(self.values)
    def read(self, rows):
        return self.values[np.asarray(rows)]

rng = np.random.default_rng(0)
centres = rng.standard_normal((3, 6, 6, 5))

def draw(n):
    y = np.arange(n) % 3
    return Stored((centres[y] + rng.standard_normal((n, 6, 6, 5))).astype(np.float16)), y

data = (*draw(65), *draw(60))

def make():
    inner = keras.Sequential(
        [keras.layers.Conv2D(8, 3), keras.layers.BatchNormalization(), keras.layers.ReLU()]
    )
    boundary = keras.Input((6, 6, 5))
    x = inner(boundary)
    short = x
    x = keras.layers.DepthwiseConv2D(3, padding="same")(x)
    x = keras.layers.Dropout(0.5)(keras.layers.Add()([x, short]))
    model = keras.Model(boundary, keras.layers.Dense(3)(keras.layers.GlobalMaxPooling2D()(x)))
    rng = np.random.default_rng(1)
    for variable in model.trainable_variables:
        variable.assign(rng.normal(0.0, 0.3, variable.shape))
    return model

settings = Settings(epochs=4, lr=1e-3, batch_size=16, patience=9, class_weight="balanced",
                    label_smoothing=0.1, seed=5)
told = {}

def note(name, top, found):
    told[name] = {
        "losses": [[e.train_loss, e.val_loss] for e in found.epochs],
        "weights": [np.ravel(v.numpy()).tolist() for v in top.trainable_variables],
        "best": found.best_epoch,
        "resumed_at": found.resumed_at,
    }

for strategy in ("none", "mirrored"):
    top = make()
    note(strategy, top, train(top, *data, replace(settings, strategy=strategy)))
    told[strategy]["devices"] = open_devices(strategy).names

def dies(epoch, left):
    if epoch.epoch == 2:
        raise RuntimeError("killed")

mirrored, path = replace(settings, strategy="mirrored"), Path(sys.argv[1])
try:
    train(make(), *data, mirrored, checkpoint=path, on_epoch=dies)
except RuntimeError:
    pass
top = make()
note("resumed", top, train(top, *data, mirrored, checkpoint=path))

def interrupts(epoch, left):
    if epoch.epoch == 2:
        raise KeyboardInterrupt

top = make()
found = train(top, *data, mirrored, on_epoch=interrupts)
note("interrupted", top, found)
print(json.dumps(told))
"""


@pytest.fixture(scope="module")
def told(python, tmp_path_factory):
    path = tmp_path_factory.mktemp("state") / "state.npz"
    return json.loads(python(TWO_DEVICES, path).splitlines()[-1])


def flat(rows) -> list[float]:
    return [value for row in rows for value in row if value is not None]


@pytest.mark.slow
def test_two_devices_are_used(told):
    assert told["none"]["devices"] == ["CPU:0"]
    assert told["mirrored"]["devices"] == ["CPU:0", "CPU:1"]


@pytest.mark.slow
def test_losses_are_those_of_one_device(told):
    one, two = (flat(told[name]["losses"]) for name in ("none", "mirrored"))
    assert len(one) == 9
    assert two == pytest.approx(one, rel=1e-5)
    assert one[-1] < 0.9 * one[0]  # it learned something


@pytest.mark.slow
def test_weights_are_those_of_one_device(told):
    assert told["mirrored"]["best"] == told["none"]["best"]
    one, two = (flat(told[name]["weights"]) for name in ("none", "mirrored"))
    assert two == pytest.approx(one, rel=1e-3, abs=1e-5)


@pytest.mark.slow
def test_a_killed_training_on_two_devices_ends_as_an_undisturbed_one(told):
    assert told["resumed"]["resumed_at"] == 2
    for what in ("losses", "weights"):
        undisturbed, resumed = (flat(told[name][what]) for name in ("mirrored", "resumed"))
        assert resumed == pytest.approx(undisturbed, rel=1e-5, abs=1e-6)


@pytest.mark.slow
def test_ctrl_c_on_two_devices_leaves_the_best_epoch(told):
    found = told["interrupted"]
    assert flat(found["losses"]) == pytest.approx(flat(told["mirrored"]["losses"][:3]), rel=1e-5)
    assert found["best"] in (1, 2)


def test_one_device_needs_no_strategy():
    for strategy in ("none", "mirrored"):
        devices = open_devices(strategy)
        assert len(devices.names) == 1
        assert devices.strategy is None


def test_a_cluster_of_one_is_no_cluster(monkeypatch):
    config = {"cluster": {"worker": ["a:1"]}, "task": {"type": "worker", "index": 0}}
    monkeypatch.setenv("TF_CONFIG", json.dumps(config))
    assert open_devices("mirrored").workers == 1


@pytest.mark.parametrize(
    "config",
    [
        "{",
        "[]",
        '{"cluster": {"worker": ["a:1", "b:2"]}}',
        '{"cluster": {"worker": ["a:1", "b:2"]}, "task": {"type": "worker", "index": 2}}',
        '{"cluster": {"worker": ["a:1", "b:2"]}, "task": {"type": "worker", "index": -1}}',
        '{"cluster": {"worker": ["a:1", "b:2"]}, "task": {"type": "ps", "index": 0}}',
        '{"cluster": {"worker": 3}, "task": {"type": "worker", "index": 0}}',
    ],
)
def test_a_tf_config_that_makes_no_sense_is_shown_with_one_that_does(monkeypatch, config):
    monkeypatch.setenv("TF_CONFIG", config)
    with pytest.raises(FitError) as caught:
        open_devices("mirrored")
    assert config in caught.value.cause
    assert '"task": {"type": "worker", "index": 0}' in caught.value.remedy
    assert open_devices("none").workers == 1  # which does not ask


@pytest.mark.slow
def test_workers_cannot_be_joined_by_a_process_that_has_computed_already(python):
    code = """
import json, os
os.environ["TF_CONFIG"] = json.dumps(
    {"cluster": {"worker": ["127.0.0.1:1", "127.0.0.1:2"]}, "task": {"type": "worker", "index": 0}}
)
from tlx.lazy_imports import import_tensorflow
from tlx.errors import FitError
from tlx.finetune.distribute import open_devices
import_tensorflow().constant(1.0)
try:
    open_devices("mirrored")
except FitError as error:
    print(error.cause, error.remedy)
"""
    told = python(code)
    assert "cannot be joined" in told
    assert "new process" in told
