"""Head or fine-tuned network: which of the two is better on the same images, and how surely.

The epoch with the lowest loss on some images looks better on them than it is. So the network is
judged by cross-fitting [1]_: the held-out images are dealt into parts, and each is predicted by the
epoch and the temperature that are best on the other parts.

A difference of log losses hangs on rare images: where 50 happen to be all right, the surer of two
predictors looks better on each of them, and by the next mistake is worse. So the test adds two
images to those seen, on which both are wrong, and each is the better once. Agresti and Min [2]_ do
the like for accuracies.

References
----------
.. [1] V. Chernozhukov et al. (2018), Double/debiased machine learning for treatment and structural
   parameters, The Econometrics Journal 21.
.. [2] A. Agresti, Y. Min (2005), Simple improved confidence intervals for comparing matched
   proportions, Statistics in Medicine 24.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..classify.folds import stratified_group_folds
from ..classify.heads.linear import softmax
from ..classify.scoring.calibrate import apply_temperature, fit_temperature, halve_groups
from ..classify.scoring.crossval import score_calibrated
from ..classify.scoring.intervals import variance_of_folds
from ..classify.scoring.metrics import Metric, image_loss
from ..classify.scoring.paired import Difference, compare_paired
from ..errors import DataError, UnknownNameError

KEEP = ("better", "finetuned", "head")
FEW = 150  # with fewer held-out images little can be told
_CHANCE = 0.05  # p-values from here on may be chance
_PARTS = 2  # that the held-out images are dealt into


@dataclass
class Worth:
    """What head or network is worth on the M held-out images.

    Attributes
    ----------
    proba : ndarray of shape (M, C)
        Calibrated. Nothing that gave those of an image was chosen by that image.
    metrics : dict of str to Metric
    """

    proba: np.ndarray
    metrics: dict[str, Metric]


@dataclass(frozen=True)
class Verdict:
    """The fine-tuned network against the head on M held-out images.

    Attributes
    ----------
    kept : {"head", "finetuned"}
    better : bool
        Whether the network is better than the head beyond chance, which of them is kept or not.
    n : int
        Images.
    accuracy, log_loss : Difference
        Fine-tuned minus head, with 95% interval and p-value: see `compare_paired` for the accuracy
        and `compare_losses` for the loss.
    gained, lost : int
        Images that only the fine-tuned network, or only the head, gets right.
    why : str
        A few sentences.
    """

    kept: str
    better: bool
    n: int
    accuracy: Difference
    log_loss: Difference
    gained: int
    lost: int
    why: str


def weigh(
    y: np.ndarray,
    raw: np.ndarray,
    proba: np.ndarray,
    groups: np.ndarray,
    fold: np.ndarray | None = None,
) -> Worth:
    """Score probabilities as those of heads are scored.

    Parameters
    ----------
    y : ndarray of shape (M,), int
    raw, proba : ndarray of shape (M, C)
        Before and after calibration.
    groups : ndarray of shape (M,), int
    fold : ndarray of shape (M,), int, optional
        That held each out; by default one.
    """
    fold = np.zeros(len(y), int) if fold is None else fold
    return Worth(proba, score_calibrated(y, raw, proba, groups, fold))


def cross_fit(
    y: np.ndarray,
    logits: np.ndarray,
    groups: np.ndarray,
    seed: int = 0,
    fold: np.ndarray | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Predict each image by the epoch and the temperature that are best on the other parts.

    Parameters
    ----------
    y : ndarray of shape (M,), int
    logits : ndarray of shape (E, M, C)
        Of E epochs, or other candidates.
    groups : ndarray of shape (M,), int
        No group is torn apart.
    seed : int, default=0
        Of the parts.
    fold : ndarray of shape (M,), int, optional
        The parts; by default two, with their share of each class.

    Returns
    -------
    raw, proba : ndarray of shape (M, C), float64
        Before and after calibration.

    Examples
    --------
    >>> logits = np.random.default_rng(0).standard_normal((3, 20, 2))
    >>> raw, proba = cross_fit(np.arange(20) % 2, logits, np.arange(20))
    >>> proba.shape
    (20, 2)
    """
    fold = _parts(y, groups, seed) if fold is None else fold
    candidates = np.stack([softmax(one) for one in logits])
    losses = epoch_losses(y, candidates)
    raw = np.empty(candidates.shape[1:])
    proba = np.empty_like(raw)
    for k in np.unique(fold):
        own, others = fold == k, fold != k
        best = candidates[int(losses[:, others].sum(axis=1).argmin())]
        raw[own] = best[own]
        temperature = fit_temperature(y[others], best[others])
        proba[own] = apply_temperature(best[own], temperature)
    return raw, proba


def epoch_losses(y: np.ndarray, candidates: np.ndarray) -> np.ndarray:
    """Return the log loss of each image by each of E candidates, (E, M, C) to (E, M)."""
    return image_loss(candidates[:, np.arange(len(y)), y])


def _parts(y: np.ndarray, groups: np.ndarray, seed: int) -> np.ndarray:
    try:
        return stratified_group_folds(y, groups, _PARTS, seed)
    except DataError:  # a class of a single group
        return halve_groups(groups, seed)


def judge_epochs(
    y: np.ndarray,
    groups: np.ndarray,
    at_start: np.ndarray,
    candidates: np.ndarray,
    told: np.ndarray | None = None,
    keep: str = "better",
    seed: int = 0,
    fold: np.ndarray | None = None,
) -> tuple[Worth, Worth, Verdict]:
    """Score head and network in one way, and compare; without a trained epoch both are the head.

    Parameters
    ----------
    y, groups : ndarray of shape (M,), int
    at_start : ndarray of shape (M, C)
        Logits of the head, before any calibration.
    candidates : ndarray of shape (E, M, C)
        Those of the network, by epoch.
    told : ndarray of shape (M, C), optional
        Calibrated probabilities that the head's own run has, where it has them.
    keep : {"better", "finetuned", "head"}, default="better"
    seed : int, default=0
        Of the halves that are cross-fitted.
    fold : ndarray of shape (M,), int, optional
        Of several trainings, which held each image out: these are cross-fitted instead.

    Returns
    -------
    head, finetuned : Worth
    verdict : Verdict
    """
    raw, proba = cross_fit(y, at_start[None], groups, seed, fold)
    head = tuned = weigh(y, raw, proba if told is None else told, groups, fold)
    if len(candidates):
        tuned = weigh(y, *cross_fit(y, candidates, groups, seed, fold), groups, fold)
    keep = keep if len(candidates) else "head"
    n_folds = 1 if fold is None else len(np.unique(fold))
    return head, tuned, judge(y, head.proba, tuned.proba, groups, keep, n_folds)


def judge(
    y: np.ndarray,
    head: np.ndarray,
    finetuned: np.ndarray,
    groups: np.ndarray,
    keep: str = "better",
    n_folds: int = 1,
) -> Verdict:
    """Compare the two and say which is kept.

    The fine-tuned network is better if its log loss is lower beyond chance and it gets no fewer
    images right.

    Parameters
    ----------
    y : ndarray of shape (M,), int
    head, finetuned : ndarray of shape (M, C)
        Probabilities of the same images, which neither was trained on or chosen by: those that
        `cross_fit` gives of the network.
    groups : ndarray of shape (M,), int
        Images of one group are dependent.
    keep : {"better", "finetuned", "head"}, default="better"
        What to keep, whatever is better.
    n_folds : int, default=1
        Folds that the images were held out in; see `compare_paired`.
    """
    right = [p.argmax(axis=1) == y for p in (head, finetuned)]
    gained = int((right[1] & ~right[0]).sum())
    lost = int((right[0] & ~right[1]).sum())
    accuracy = compare_paired("accuracy", y, finetuned, head, groups, n_folds=n_folds)
    loss = compare_losses(y, finetuned, head, groups, n_folds=n_folds)
    better = loss.value < 0 and not by_chance(loss) and gained >= lost
    kept = keep if keep != "better" else "finetuned" if better else "head"
    why = _why(accuracy, loss, gained, lost)
    if (n := len(np.unique(groups))) < FEW:
        what = "held-out images" if n == len(y) else "groups of held-out images"
        why += f" With {n} {what} little can be told: a small gain looks like chance."
    return Verdict(kept, better, len(y), accuracy, loss, gained, lost, why)


def compare_losses(
    y: np.ndarray, a: np.ndarray, b: np.ndarray, groups: np.ndarray, *, n_folds: int = 1
) -> Difference:
    """Return the log loss of `a` minus that of `b`, with a paired t-test over groups.

    Two more images, one for and one against `a`, differ by what those seen would, in root mean
    square, if their true class were the likeliest of the others.

    Parameters
    ----------
    y : ndarray of shape (M,), int
    a, b : ndarray of shape (M, C)
        Probabilities.
    groups : ndarray of shape (M,), int
    n_folds : int, default=1
        They raise the variance as in `compare_paired`.

    Examples
    --------
    >>> y, sure = np.zeros(9, int), np.tile([0.99, 0.01], (9, 1))
    >>> found = compare_losses(y, sure, np.tile([0.9, 0.1], (9, 1)), np.arange(9))
    >>> found.value < 0 < found.high  # nine images without a mistake prove nothing
    True
    """
    from scipy.special import stdtr, stdtrit

    rows = np.arange(len(y))
    gain = image_loss(a[rows, y]) - image_loss(b[rows, y])
    if_wrong = image_loss(_runner_up(y, a)) - image_loss(_runner_up(y, b))
    unseen = float(np.sqrt((if_wrong**2).mean()))
    group = np.unique(groups, return_inverse=True)[1].reshape(-1)
    n, G = len(y) + 2, int(group.max()) + 3
    value, centre = float(gain.mean()), float(gain.sum()) / n
    totals = np.append(np.bincount(group, gain - centre), [unseen - centre, -unseen - centre])
    spread = variance_of_folds(n_folds)
    error = float(np.sqrt(spread * (totals @ totals) * G / (G - 1))) / n
    if not error:  # no image differs
        return Difference(value, value, value, 1.0)
    half = float(stdtrit(G - 1, 0.975)) * error
    p_value = 2 * float(stdtr(G - 1, -abs(centre) / error))
    return Difference(value, min(value, centre - half), max(value, centre + half), p_value)


def _runner_up(y: np.ndarray, proba: np.ndarray) -> np.ndarray:
    """Return the probability of the likeliest class but the true one, shape (M,)."""
    others = proba.copy()
    others[np.arange(len(y)), y] = 0
    return others.max(axis=1)


def checked_keep(keep: str) -> str:
    """Return what is to be kept, if that can be asked for.

    Raises
    ------
    UnknownNameError
    """
    if keep not in KEEP:
        raise UnknownNameError.nearest("choice of what to keep", keep, KEEP)
    return keep


def by_chance(difference: Difference) -> bool:
    """Return whether a difference may be chance: its interval holds 0, or its test says so."""
    return difference.low <= 0 <= difference.high or difference.p_value >= _CHANCE


def _why(accuracy: Difference, loss: Difference, gained: int, lost: int) -> str:
    if loss.value >= 0:
        return "Fine-tuning did not help: its log loss is not below the head's."
    if gained < lost:
        return "Fine-tuning did not help: its log loss is lower, but it gets fewer images right."
    if by_chance(loss):
        return (
            "Fine-tuning did not clearly help: its log loss is lower, but within chance; on other "
            "images the head may be as good."
        )
    if by_chance(accuracy):
        return (
            "Fine-tuning helped: its log loss is lower beyond chance; the difference in accuracy "
            "is within chance."
        )
    return "Fine-tuning helped: its log loss is lower and its accuracy higher, beyond chance."
