"""Training the top: the same losses as Keras, never worse, resumable, interruptible."""

from __future__ import annotations

import numpy as np
import pytest

from tlx.finetune.settings import Settings
from tlx.finetune.train import (
    average_weights,
    epoch_order,
    learning_rate,
    log_loss,
    predict_logits,
    train,
)
from tlx.lazy_imports import import_keras, import_tensorflow


class Stored:
    """Activations in memory, read like stored ones."""

    def __init__(self, values: np.ndarray) -> None:
        self.values = values

    def __len__(self) -> int:
        return len(self.values)

    def read(self, rows) -> np.ndarray:
        return self.values[np.asarray(rows)]


@pytest.fixture(scope="module")
def data():
    """Return training and held-out maps (N, 4, 4, 6) of three classes, with their labels."""
    rng = np.random.default_rng(0)
    centres = rng.standard_normal((3, 4, 4, 6))

    def draw(n: int):
        y = np.arange(n) % 3
        x = centres[y] + 1.5 * rng.standard_normal((n, 4, 4, 6))
        return Stored(x.astype(np.float16)), y

    return *draw(70), *draw(60)


@pytest.fixture
def top():
    """Return a new small top, the same one every time."""
    keras = import_keras()
    boundary = keras.Input((4, 4, 6))
    x = keras.layers.Conv2D(8, 3, name="conv")(boundary)
    x = keras.layers.BatchNormalization(name="norm")(x)
    x = keras.layers.Dropout(0.5)(keras.layers.ReLU()(x))
    x = keras.layers.GlobalAveragePooling2D()(x)
    model = keras.Model(boundary, keras.layers.Dense(3)(x))
    rng = np.random.default_rng(1)
    for variable in model.trainable_variables:
        variable.assign(rng.normal(1.0, 0.3, variable.shape))
    return model


def weights(model) -> list[np.ndarray]:
    return [variable.numpy() for variable in model.trainable_variables]


def test_losses_are_those_of_keras_with_the_same_order(top, data):
    keras, tf = import_keras(), import_tensorflow()
    x, y, *_ = data
    settings = Settings(epochs=2, lr=1e-2, batch_size=16, patience=9, seed=3)
    start = weights(top)
    found = train(top, *data, settings)

    for variable, value in zip(top.trainable_variables, start, strict=True):
        variable.assign(value)
    optimizer = keras.optimizers.AdamW(settings.lr, weight_decay=settings.weight_decay)
    optimizer.exclude_from_weight_decay(
        var_list=[v for v in top.trainable_variables if len(v.shape) < 2]
    )
    loss_of = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    step = 0
    for epoch in (1, 2):
        order, losses = epoch_order(len(y), settings.seed, epoch), []
        for first in range(0, len(y), 16):
            batch = order[first : first + 16]
            optimizer.learning_rate = learning_rate(step, 10, settings.lr)
            with tf.GradientTape() as tape:
                logits = top(x.values[batch].astype(np.float32), training=False)
                loss = loss_of(y[batch], logits)
            optimizer.apply(
                tape.gradient(loss, [v.value for v in top.trainable_variables]),
                top.trainable_variables,
            )
            losses.append(float(loss) * len(batch))
            step += 1
        assert found.epochs[epoch].train_loss == pytest.approx(sum(losses) / len(y), abs=1e-5)


def test_the_head_is_epoch_0(top, data):
    found = train(top, *data, Settings(epochs=0))
    assert [epoch.epoch for epoch in found.epochs] == [0]
    assert found.epochs[0].train_loss is None


def test_no_epochs_leave_the_weights_alone(top, data):
    before = weights(top)
    train(top, *data, Settings(epochs=0))
    assert all(np.array_equal(a, b) for a, b in zip(before, weights(top), strict=True))


def test_what_is_left_is_the_best_epoch(top, data):
    found = train(top, *data, Settings(epochs=5, lr=3e-2, patience=9))
    losses = [epoch.val_loss for epoch in found.epochs[1:]]
    assert found.best_epoch == 1 + int(np.argmin(losses))
    left = log_loss(data[3], predict_logits(top, data[2]))
    assert left == pytest.approx(min(losses), abs=1e-6)


def test_each_epoch_leaves_its_logits_of_the_held_out_images(top, data):
    found = train(top, *data, Settings(epochs=3, lr=1e-2, patience=9))
    told = [epoch.val_loss for epoch in found.epochs]
    assert [log_loss(data[3], logits) for logits in found.logits] == pytest.approx(told, abs=1e-6)


@pytest.mark.slow
def test_patience_ends_a_training_that_does_not_help(top, data):
    found = train(top, *data, Settings(epochs=50, lr=3.0, patience=2))
    assert len(found.epochs) < 20


@pytest.mark.slow
def test_statistics_stay_and_scale_and_shift_are_trained(top, data):
    norm = top.get_layer("norm")
    before = [variable.numpy() for variable in norm.variables]
    train(top, *data, Settings(epochs=1, lr=1e-2))
    names = [variable.path.split("/")[-1] for variable in norm.variables]
    changed = {
        name
        for name, old, new in zip(names, before, norm.variables, strict=True)
        if not np.array_equal(old, new.numpy())
    }
    assert changed == {"gamma", "beta"}


@pytest.mark.slow
def test_equal_seeds_give_equal_results(top, data):
    start = weights(top)
    results = []
    for _ in range(2):
        for variable, value in zip(top.trainable_variables, start, strict=True):
            variable.assign(value)
        results.append(train(top, *data, Settings(epochs=2, lr=1e-2)).epochs[-1].val_loss)
    assert results[0] == pytest.approx(results[1], abs=1e-7)


@pytest.mark.slow
def test_a_killed_training_ends_as_an_undisturbed_one(top, data, tmp_path):
    settings = Settings(epochs=4, lr=1e-2, patience=9)
    start, path = weights(top), tmp_path / "state.npz"
    whole = train(top, *data, settings)
    expected = weights(top)

    def dies(epoch, left) -> None:
        if epoch.epoch == 2:
            raise RuntimeError("killed")

    for variable, value in zip(top.trainable_variables, start, strict=True):
        variable.assign(value)
    with pytest.raises(RuntimeError, match="killed"):
        train(top, *data, settings, checkpoint=path, on_epoch=dies)
    for variable in top.trainable_variables:  # a new process has the seed, not these weights
        variable.assign(variable * 0)
    found = train(top, *data, settings, checkpoint=path)
    assert found.resumed_at == 2
    np.testing.assert_allclose(found.logits, whole.logits, atol=1e-5)
    assert [e.val_loss for e in found.epochs] == pytest.approx([e.val_loss for e in whole.epochs])
    for a, b in zip(expected, weights(top), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-6)


@pytest.mark.slow
def test_a_training_that_ended_before_its_result_was_safe_is_not_repeated(top, data, tmp_path):
    settings, path = Settings(epochs=3, lr=1e-2, patience=9), tmp_path / "state.npz"
    train(top, *data, settings, checkpoint=path)
    expected = weights(top)
    for variable in top.trainable_variables:
        variable.assign(variable * 0)
    found = train(top, *data, settings, checkpoint=path)
    assert found.resumed_at == 3
    assert all(np.array_equal(a, b) for a, b in zip(expected, weights(top), strict=True))


def test_a_checkpoint_that_is_damaged_is_not_used(top, data, tmp_path):
    path = tmp_path / "state.npz"
    path.write_bytes(b"PK\x03\x04 no archive")
    assert train(top, *data, Settings(epochs=1), checkpoint=path).resumed_at == 0


@pytest.mark.slow
def test_ctrl_c_keeps_the_best_epoch_and_the_checkpoint(top, data, tmp_path):
    path = tmp_path / "state.npz"

    def interrupts(epoch, left) -> None:
        if epoch.epoch == 2:
            raise KeyboardInterrupt

    settings = Settings(epochs=9, lr=1e-2, patience=9)
    found = train(top, *data, settings, checkpoint=path, on_epoch=interrupts)
    assert found.interrupted
    assert len(found.epochs) == 3
    assert path.exists()
    best = min(epoch.val_loss for epoch in found.epochs[1:])
    assert log_loss(data[3], predict_logits(top, data[2])) == pytest.approx(best, abs=1e-6)


@pytest.mark.slow
def test_the_average_is_never_worse_than_either_end(top, data):
    start = weights(top)
    before = log_loss(data[3], predict_logits(top, data[2]))
    found = train(top, *data, Settings(epochs=2, lr=3e-2))
    point, logits = average_weights(top, start, data[2], data[3])
    assert 0 <= point <= 1
    now = predict_logits(top, data[2])
    np.testing.assert_allclose(logits[round(10 * point)], now, atol=1e-5)
    after = log_loss(data[3], now)
    assert after <= min(before, found.epochs[found.best_epoch].val_loss) + 1e-6


@pytest.mark.slow
def test_label_smoothing_and_class_weights_change_what_is_minimised(top, data):
    start, losses = weights(top), []
    for options in ({}, {"label_smoothing": 0.2}, {"class_weight": "balanced"}):
        for variable, value in zip(top.trainable_variables, start, strict=True):
            variable.assign(value)
        settings = Settings(epochs=1, lr=1e-3, **options)
        losses.append(train(top, *data, settings).epochs[1].train_loss)
    assert len({round(loss, 6) for loss in losses}) == 3


def test_the_rate_warms_up_and_falls_to_zero():
    rates = [learning_rate(step, 100, 1.0) for step in range(101)]
    assert rates[:10] == pytest.approx(np.arange(1, 11) / 10)
    assert np.all(np.diff(rates[10:]) <= 0)
    assert rates[100] == pytest.approx(0)


def test_the_order_depends_on_seed_and_epoch_alone():
    assert np.array_equal(epoch_order(50, 1, 2), epoch_order(50, 1, 2))
    assert not np.array_equal(epoch_order(50, 1, 2), epoch_order(50, 1, 3))
    assert not np.array_equal(epoch_order(50, 1, 2), epoch_order(50, 2, 2))


def test_a_loss_that_is_no_number_ends_the_training_and_leaves_the_head(top, data):
    before = weights(top)
    found = train(top, *data, Settings(epochs=9, lr=1e38, patience=9))
    assert found.diverged
    assert len(found.epochs) < 10
    assert np.isfinite(found.logits).all()
    assert not np.isfinite([found.epochs[-1].val_loss, found.epochs[-1].train_loss]).all()
    if not found.best_epoch:
        assert all(np.array_equal(a, b) for a, b in zip(before, weights(top), strict=True))
    assert np.isfinite(predict_logits(top, data[2])).all()
