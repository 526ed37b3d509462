"""Fine-tuning without a validation split: each fold is held out once, then all images are learned.

The network that is kept learned from all images, so none is left to judge it. Its worth is that of
the K networks of the folds, each on the images that neither it nor its head saw, as the worth of a
head in K-fold is. The images of a fold are predicted by the epoch and the temperature that are best
on the other folds.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import numpy as np

from ..classify.heads.linear import softmax
from ..classify.runs.run import Run
from ..classify.scoring.calibrate import fit_temperature
from ..errors import FitError
from .cut import Cut
from .distribute import open_devices
from .prepare import HeldOut, fold_of
from .result import Outcome
from .seed import SeededNetwork, attach_head
from .settings import Epoch, Settings, Training
from .train import Activations, Loop, log_loss
from .verdict import judge_epochs

if TYPE_CHECKING:
    import keras


def check_folds(unfreeze: int | str, settings: Settings, *, average: bool) -> None:
    """Raise if folds do not go together with the other options.

    Raises
    ------
    FitError
    """
    refused = {
        "--average": (average, "each fold would have a point of its own"),
        "--strategy": (settings.strategy != "none", "folds train on one device"),
        "--unfreeze auto": (
            str(unfreeze).strip() == "auto",
            "it chooses by all images, which the folds hold out",
        ),
    }
    for option, (given, why) in refused.items():
        if given:
            raise FitError(
                f"--folds and {option} do not go together: {why}.", "Leave out one of them."
            )


def train_folds(
    network: SeededNetwork,
    cut: Cut,
    held: HeldOut,
    run: Run,
    fit: Callable[[SeededNetwork, HeldOut], Training],
    again: Callable[[int], None],
    keep: str = "better",
    log: Callable[[str], None] = lambda text: None,
) -> Outcome:
    """Hold out each fold once, judge by all images, and leave what is kept in the network.

    Parameters
    ----------
    network : SeededNetwork
        With the head of all images.
    cut : Cut
    held : HeldOut
        Of all N images, see `tlx.finetune.prepare.hold_out_folds`.
    run : Run
        What fits the head again.
    fit : callable
        Trains a network on what a fold does not hold out.
    again : callable
        Trains `network` on all images, for the number of epochs that it is called with.
    keep : {"better", "finetuned", "head"}, default="better"
    log : callable, optional
        Called with a line of text.

    Raises
    ------
    KeyboardInterrupt
        On Ctrl-C; the states of the folds so far are kept.
    FitError
        If a head cannot be fitted without a fold, or training on all images fails.
    """
    logits, trainings = _train_each(network, cut, held, run, fit, log)
    y, groups, fold = held.y, held.groups, held.fold
    at_start = logits[0] * held.temperature  # calibration taken back, as it is made anew
    head, tuned, verdict = judge_epochs(
        y, groups, at_start, logits[1:], held.proba, keep, fold=fold
    )
    pooled, kept = pool_trainings(y, logits, trainings), head
    if verdict.kept == "finetuned":
        again(pooled.best_epoch)
        network.scale_logits(1 / fit_temperature(y, softmax(logits[pooled.best_epoch])))
        kept = tuned
    facts = [_facts(k, fold, training) for k, training in enumerate(trainings)]
    return Outcome(pooled, head, tuned, verdict, kept.proba, folds=facts)


def _train_each(
    network: SeededNetwork,
    cut: Cut,
    held: HeldOut,
    run: Run,
    fit: Callable[[SeededNetwork, HeldOut], Training],
    log: Callable[[str], None],
) -> tuple[np.ndarray, list[Training]]:
    """Train once a fold; return logits by epoch, and leave the network as it came."""
    K, trainings = int(held.fold.max()) + 1, []
    before, time_is_told = network.features.get_weights(), False
    log(f"{K} + 1 trainings follow: one a fold, and on all images if the network is kept.")
    for k in range(K):
        started = time.perf_counter()
        part = fold_of(held, run, k)
        counts = f"{len(part.train)} images to learn from, {len(part.rows)} held out"
        log(f"Fold {k + 1} of {K}: {counts}.")
        training = fit(attach_head(network.features, cut, part.head), part)
        network.features.set_weights(before)  # which all folds share
        if training.interrupted:
            raise KeyboardInterrupt
        trainings.append(training)
        if not time_is_told and not training.resumed_at:
            # All images are K / (K - 1) times those that a fold learns from.
            left = (time.perf_counter() - started) * (K - 1 - k + K / (K - 1))
            log(f"The rest takes about {left:.0f} s.")
            time_is_told = True
    return pool_logits(held.fold, trainings), trainings


def retrain(
    top: keras.Model,
    rows: Activations,
    y: np.ndarray,
    settings: Settings,
    log: Callable[[str], None],
    epochs: int,
) -> None:
    """Train on all images for so many epochs of the schedule of `settings`; nothing is held out.

    Raises
    ------
    FitError
        If the loss is no number any more.
    """
    loop = Loop(top, y, settings, open_devices("none"))
    log(f"Training on all {len(y)} images for {epochs} of {settings.epochs} epochs.")
    for number in range(1, epochs + 1):
        started = time.perf_counter()
        loss = loop.epoch(number, rows, y)
        if not math.isfinite(loss):
            raise FitError(
                "trained on all images, the loss is no number any more.",
                f"Lower the learning rate: --lr {settings.lr / 10:g}",
            )
        seconds = time.perf_counter() - started
        log(f"epoch {number}/{epochs} on all images  train loss {loss:.4f}, {seconds:.1f} s")


def pool_logits(fold: np.ndarray, trainings: list[Training]) -> np.ndarray:
    """Return the logits of all images by epoch, each by the training that held it out.

    A fold that stopped early keeps its last epoch. No epoch is told from which a fold diverged.

    Parameters
    ----------
    fold : ndarray of shape (N,), int
    trainings : list of K Training

    Returns
    -------
    ndarray of shape (1 + E, N, C), float32
        The heads' first.
    """
    ends = [len(training.logits) for training in trainings if training.diverged]
    epochs = min([max(len(training.logits) for training in trainings), *ends])
    out = np.empty((epochs, len(fold), trainings[0].logits[0].shape[1]), np.float32)
    for k, training in enumerate(trainings):
        for epoch in range(epochs):
            out[epoch, fold == k] = training.logits[min(epoch, len(training.logits) - 1)]
    return out


def pool_trainings(y: np.ndarray, logits: np.ndarray, trainings: list[Training]) -> Training:
    """Return the trainings of all folds as one: losses are means over all held-out images.

    Parameters
    ----------
    y : ndarray of shape (N,), int
    logits : ndarray of shape (1 + E, N, C)
        As `pool_logits` gives them.
    trainings : list of K Training
    """
    losses = [log_loss(y, one) for one in logits]
    epochs = []
    for number, loss in enumerate(losses):
        ran = [t.epochs[number] for t in trainings if number < len(t.epochs)]
        learned = [epoch.train_loss for epoch in ran if epoch.train_loss is not None]
        epochs.append(
            Epoch(
                number,
                float(np.mean(learned)) if learned else None,
                loss,
                float((logits[number].argmax(axis=1) == y).mean()),
                sum(epoch.seconds for epoch in ran),
                best=loss < min(losses[:number], default=math.inf),
            )
        )
    return Training(
        epochs,
        best_epoch=1 + int(np.argmin(losses[1:])) if len(losses) > 1 else 0,
        diverged=any(training.diverged for training in trainings),
        resumed_at=max(training.resumed_at for training in trainings),
        logits=list(logits),
    )


def _facts(k: int, fold: np.ndarray, training: Training) -> dict[str, Any]:
    return {
        "fold": k,
        "n": int((fold == k).sum()),
        "best_epoch": training.best_epoch,
        "diverged": training.diverged,
        "resumed_at": training.resumed_at,
        "epochs": [asdict(epoch) for epoch in training.epochs],
    }
