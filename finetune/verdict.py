"""Head or fine-tuned network: which of the two is better on the same images, and how surely."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..classify.scoring.paired import Difference, compare_paired


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
        One sentence.
    """

    kept: str
    n: int
    accuracy: Difference
    log_loss: Difference
    gained: int
    lost: int
    why: str


def judge(
    y: np.ndarray,
    head: np.ndarray,
    finetuned: np.ndarray,
    groups: np.ndarray,
    losses: tuple[float, float] = (np.inf, 0.0),
) -> Verdict:
    """Compare the two and say which is kept.

    The fine-tuned network is kept if its log loss is lower and it gets no fewer images right.

    Parameters
    ----------
    y : ndarray of shape (M,), int
    head, finetuned : ndarray of shape (M, C)
        Probabilities of the same images, which neither was trained on.
    groups : ndarray of shape (M,), int
        Copies of an image count as one in the intervals.
    losses : tuple of float, optional
        Log loss on these images of head and fine-tuned network as each would predict, its
        temperature fitted on all of them: here too the fine-tuned network must be below the head.
    """
    right = [p.argmax(axis=1) == y for p in (head, finetuned)]
    gained = int((right[1] & ~right[0]).sum())
    lost = int((right[0] & ~right[1]).sum())
    accuracy, loss = (
        compare_paired(metric, y, finetuned, head, groups) for metric in ("accuracy", "log_loss")
    )
    keep = loss.value < 0 and losses[1] < losses[0] and gained >= lost
    why = _why(accuracy, loss, gained, lost, losses)
    kept = "finetuned" if keep else "head"
    return Verdict(kept, len(y), accuracy, loss, gained, lost, why)


def _why(
    accuracy: Difference, loss: Difference, gained: int, lost: int, losses: tuple[float, float]
) -> str:
    if loss.value >= 0:
        return "fine-tuning did not help: its log loss is not below the head's."
    if losses[1] >= losses[0]:
        return (
            "fine-tuning did not clearly help: at the temperature that they call for, its log loss "
            f"of {losses[1]:.4f} is not below the head's of {losses[0]:.4f}."
        )
    if gained < lost:
        return "fine-tuning did not help: its log loss is lower, but it gets fewer images right."
    if loss.high >= 0:
        return "fine-tuning hardly helped: its log loss is lower by no more than chance could do."
    if accuracy.low > 0:
        return "fine-tuning helped: its log loss is lower and its accuracy higher, beyond chance."
    return "fine-tuning helped: its log loss is lower beyond chance; the accuracy may be chance."
