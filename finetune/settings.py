"""What a training is told, and what it tells: settings, epochs, and its state."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np

from ..errors import FitError, UnknownNameError
from .distribute import STRATEGIES


@dataclass(frozen=True)
class Settings:
    """How the top is trained.

    Attributes
    ----------
    epochs : int, default=10
        At most so many. With 0 the head is returned as it came.
    lr : float, default=1e-4
        Peak learning rate of AdamW: it rises over the first tenth of the steps and falls to zero
        with a cosine.
    batch_size : int, default=32
    patience : int, default=3
        Stop after so many epochs without a lower validation loss.
    weight_decay : float, default=1e-2
        Decoupled, on kernels only.
    label_smoothing : float, default=0.0
        Share of each label that is spread over all classes.
    class_weight : {"balanced"} or None, default=None
        ``"balanced"`` weighs each image by N / (C * images of its class).
    seed : int, default=0
        Of the order of the images.
    strategy : {"none", "mirrored"}, default="none"
        ``"mirrored"`` trains on all GPUs at once, of several machines too; see
        `tlx.finetune.distribute`.
    """

    epochs: int = 10
    lr: float = 1e-4
    batch_size: int = 32
    patience: int = 3
    weight_decay: float = 1e-2
    label_smoothing: float = 0.0
    class_weight: str | None = None
    seed: int = 0
    strategy: str = "none"

    def __post_init__(self) -> None:
        checks = {
            "epochs": self.epochs >= 0,
            "lr": 0 < self.lr < math.inf,
            "batch_size": self.batch_size > 0,
            "patience": self.patience > 0,
            "weight_decay": self.weight_decay >= 0,
            "label_smoothing": 0 <= self.label_smoothing < 1,
            "class_weight": self.class_weight in (None, "balanced"),
        }
        for name, fine in checks.items():
            if not fine:
                raise FitError(
                    f"{name} {getattr(self, name)!r} makes no sense.",
                    "See tlx finetune --help for what is allowed.",
                )
        if self.strategy not in STRATEGIES:
            raise UnknownNameError.nearest("strategy", self.strategy, STRATEGIES)


@dataclass(frozen=True)
class Epoch:
    """What one epoch came to.

    Attributes
    ----------
    epoch : int
        From 1; 0 is the head before training.
    train_loss : float or None
        Mean over the epoch's batches of what was minimised; None for epoch 0. It and `val_loss`
        are no numbers where the training diverged.
    val_loss : float
        Mean log loss of the held-out images.
    val_accuracy : float
    seconds : float
    best : bool
        Whether the validation loss was the lowest so far.
    """

    epoch: int
    train_loss: float | None
    val_loss: float
    val_accuracy: float
    seconds: float
    best: bool


@dataclass
class Training:
    """The state of a training, and in the end its result.

    Attributes
    ----------
    epochs : list of Epoch
        Epoch 0, the head, first.
    best_epoch : int
        The trained epoch (from 1) with the lowest validation loss; 0 if none was trained.
    best_weights : list of ndarray
        Trainable weights of the top after it; empty if none was trained.
    stale : int
        Epochs since the validation loss was lower than ever before, the head's included.
    interrupted : bool
        Whether Ctrl-C ended it.
    diverged : bool
        Whether a loss that is no number ended it.
    resumed_at : int
        Epoch after which a killed training was taken up; 0 if it was not.
    logits : list of ndarray of shape (M, C), float32
        Of the held-out images, after each epoch, the head's first. One that diverged has none.
    """

    epochs: list[Epoch] = field(default_factory=list)
    best_epoch: int = 0
    best_weights: list[np.ndarray] = field(default_factory=list)
    stale: int = 0
    interrupted: bool = False
    diverged: bool = False
    resumed_at: int = 0
    logits: list[np.ndarray] = field(default_factory=list)
