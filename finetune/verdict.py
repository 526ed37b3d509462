"""Head or fine-tuned network: which of the two is better on the same images, and how surely."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..classify.heads.linear import softmax
from ..classify.scoring.calibrate import apply_temperature, cross_calibrate
from ..classify.scoring.ece import calibration_error
from ..classify.scoring.metrics import Metric, image_loss, score
from ..classify.scoring.paired import Difference, compare_paired

_CHANCE = 0.05  # p-values from here on may be chance


@dataclass
class Worth:
    """What head or network is worth on the held-out images.

    Attributes
    ----------
    proba : ndarray of shape (M, C)
        Calibrated, each image by a temperature that was fitted without it.
    temperature : float
        Of all of them, for the network to be kept.
    loss_as_kept : float
        Mean log loss on them with that temperature.
    metrics : dict of str to Metric
    """

    proba: np.ndarray
    temperature: float
    loss_as_kept: float
    metrics: dict[str, Metric]


@dataclass(frozen=True)
class Verdict:
    """The fine-tuned network against the head on M held-out images.

    Attributes
    ----------
    kept : {"head", "finetuned"}
    n : int
        Images.
    accuracy, log_loss : Difference
        Fine-tuned minus head, with 95% interval and p-value: McNemar's exact test for the accuracy,
        a bootstrap for the loss; see `tlx.classify.scoring.paired`.
    gained, lost : int
        Images that only the fine-tuned network, or only the head, gets right.
    why : str
        One or two sentences.
    """

    kept: str
    n: int
    accuracy: Difference
    log_loss: Difference
    gained: int
    lost: int
    why: str


def weigh(y: np.ndarray, logits: np.ndarray, groups: np.ndarray, seed: int) -> Worth:
    """Calibrate logits as those of heads are, and score them.

    Parameters
    ----------
    y : ndarray of shape (M,), int
    logits : ndarray of shape (M, C)
        Before any calibration.
    groups : ndarray of shape (M,), int
    seed : int
        With that of a head's own run its metrics come out as that run has them.
    """
    raw = softmax(logits)
    proba, temperature = cross_calibrate(y, raw, np.zeros(len(y), int), groups, seed)
    metrics = {
        **score(y, proba, groups),
        "ece_raw": calibration_error(y, raw, groups),
        "ece": calibration_error(y, proba, groups),
    }
    own = apply_temperature(raw, temperature)[np.arange(len(y)), y]
    return Worth(proba, temperature, float(image_loss(own).mean()), metrics)


def judge(
    y: np.ndarray,
    head: np.ndarray,
    finetuned: np.ndarray,
    groups: np.ndarray,
    as_kept: tuple[float, float] = (np.inf, 0.0),
) -> Verdict:
    """Compare the two and say which is kept.

    The fine-tuned network is kept if its log loss is lower, by whichever images its temperature is
    fitted, and it gets no fewer images right.

    Parameters
    ----------
    y : ndarray of shape (M,), int
    head, finetuned : ndarray of shape (M, C)
        Probabilities of the same images, which neither was trained on.
    groups : ndarray of shape (M,), int
        Copies of an image count as one in the intervals.
    as_kept : tuple of float, optional
        Log loss on these images of head and fine-tuned network as each would be kept, its
        temperature fitted on all of them: here too the fine-tuned network must be below the head.
    """
    right = [p.argmax(axis=1) == y for p in (head, finetuned)]
    gained = int((right[1] & ~right[0]).sum())
    lost = int((right[0] & ~right[1]).sum())
    accuracy, loss = (
        compare_paired(metric, y, finetuned, head, groups) for metric in ("accuracy", "log_loss")
    )
    holds = as_kept[1] < as_kept[0]
    kept = "finetuned" if loss.value < 0 and gained >= lost and holds else "head"
    why = _why(accuracy, loss, gained, lost, holds)
    return Verdict(kept, len(y), accuracy, loss, gained, lost, why)


def by_chance(difference: Difference) -> bool:
    """Return whether a difference may be chance: its interval holds 0, or its test says so."""
    return difference.low <= 0 <= difference.high or difference.p_value >= _CHANCE


def _why(accuracy: Difference, loss: Difference, gained: int, lost: int, holds: bool) -> str:
    if loss.value >= 0:
        return "Fine-tuning did not help: its log loss is not below the head's."
    if gained < lost:
        return "Fine-tuning did not help: its log loss is lower, but it gets fewer images right."
    if not holds:
        return (
            "Fine-tuning did not clearly help: whether its log loss is lower depends on how so few "
            "images are taken to calibrate it."
        )
    if by_chance(loss):
        return (
            "Its log loss is lower, but the difference is within chance: on other images the head "
            "may be as good."
        )
    if by_chance(accuracy):
        return (
            "Fine-tuning helped: its log loss is lower beyond chance; the difference in accuracy "
            "is within chance."
        )
    return "Fine-tuning helped: its log loss is lower and its accuracy higher, beyond chance."
