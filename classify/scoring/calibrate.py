"""Probabilities that mean what they say: temperature scaling, and when to say "unknown".

Everything here is judged on images that the head had not seen. The temperature applied to an image
is moreover fitted without it, so that the figures after calibration are as honest as those before:
on what inner folds held out, which neither taught nor chose anything that was scored.

References
----------
.. [1] C. Guo, G. Pleiss, Y. Sun, K. Q. Weinberger (2017), On calibration of modern neural networks,
   ICML.
.. [2] Y. Geifman, R. El-Yaniv (2017), Selective classification for deep neural networks, NeurIPS.
.. [3] A. N. Angelopoulos, S. Bates, E. J. Candès, M. I. Jordan, L. Lei (2021), Learn then test:
   calibrating predictive algorithms to achieve risk control, arXiv:2110.01052.
.. [4] C. J. Clopper, E. S. Pearson (1934), The use of confidence or fiducial limits illustrated in
   the case of the binomial, Biometrika 26.
.. [5] J. Platt (1999), Probabilistic outputs for support vector machines and comparisons to
   regularized likelihood methods, in: Advances in large margin classifiers, MIT Press.
.. [6] B. L. Wiens (2003), A fixed sequence Bonferroni procedure for testing multiple endpoints,
   Pharmaceutical Statistics 2.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ...errors import DataError, FitError
from ..heads.linear import softmax
from ..heads.newton import increasing_root
from .intervals import standard_error

HeldOut = tuple[np.ndarray, np.ndarray]  # classes (m,) and probabilities (m, C)

UNKNOWN = "unknown"  # the label of a rejected image
TINY = 1e-12  # what a probability of 0 counts as, at most
_WIDEST = 7.0  # |log T| stays below this
_STEPS = 50  # numbers of accepted images that are tried
_STARTS = (0, 1, 5, 20)  # mistakes that the first tests would bear; they share the allowed risk


@dataclass(frozen=True)
class Rejection:
    """A confidence below which a prediction is not believed.

    Attributes
    ----------
    error : float
        The largest error that was asked for, among accepted images.
    threshold : float
        Least confidence of an accepted image.
    coverage : float
        Share of the scored images that it accepts.
    observed : float
        Error among those.
    bound : float
        Upper confidence bound of that error, at most `error`.
    n : int
        Accepted images.
    strangers : float or None
        Share of images like those scored that are taken for strangers, and not accepted however
        confident the run is of them; None if strangers are not looked for.
    """

    error: float
    threshold: float
    coverage: float
    observed: float
    bound: float
    n: int
    strangers: float | None = None


def fit_temperature(y: np.ndarray, probabilities: np.ndarray) -> float:
    """Find the temperature whose probabilities give the true classes the least log loss [1]_.

    The loss of ``softmax(log(p) / T)`` is convex in 1/T. Few images, or none, tell how often an
    image is wrong, so each counts as wrong, its true class the best of the others, with a weight of
    1 / (2 N + 2), as the prior of Jeffreys expects where no mistake was seen; Platt's targets [5]_
    are alike. A normal prior on log T, of mean 0 and standard deviation 1, keeps T near 1 where the
    images do not tell. Among hundreds of images neither has a weight to speak of.

    Parameters
    ----------
    y : ndarray of shape (N,), int
    probabilities : ndarray of shape (N, C)

    Returns
    -------
    float
        1 leaves the probabilities as they are, more makes them less sure.

    Examples
    --------
    >>> sure = np.tile([0.99, 0.01], (100, 1))
    >>> y = np.repeat([0, 1], [80, 20])  # right in 80 of 100
    >>> T = fit_temperature(y, sure)
    >>> apply_temperature(sure[:1], T)[0].round(1).tolist()
    [0.8, 0.2]
    """
    if not len(y):
        return 1.0
    logits = log_probabilities(probabilities)
    logits -= logits.max(axis=1, keepdims=True)
    rows = np.arange(len(y))
    own, others = logits[rows, y], logits.copy()
    others[rows, y] = -np.inf
    doubt = 0.5 / (len(y) + 1)
    target = (1 - doubt) * own + doubt * others.max(axis=1)

    # With b = 1 / T = exp(t), the derivative by t of
    # sum_i logsumexp(b z_i) - b target_i + t^2 / 2  is  b (sum_i E[z_i] - target_i) + t,
    # its own derivative  that + b^2 sum_i Var[z_i] + 1 - t.
    def derivatives(t: float) -> tuple[float, float]:
        b = np.exp(t)
        p = np.exp(b * logits)
        p /= p.sum(axis=1, keepdims=True)
        mean = (p * logits).sum(axis=1)
        slope = float(b * (mean - target).sum())
        spread = float((p * logits**2).sum() - mean @ mean)
        return slope + t, slope + b**2 * spread + 1

    t = increasing_root(derivatives, 0.0, -_WIDEST, _WIDEST, 1e-6)
    return float(np.exp(-t))


def apply_temperature(probabilities: np.ndarray, temperature: float | np.ndarray) -> np.ndarray:
    """Return ``softmax(log(p) / T)``, shape (N, C) float64; T may be one a row, shape (N,)."""
    T = np.asarray(temperature, np.float64)
    logits = log_probabilities(probabilities)
    return softmax(logits / (T[:, None] if T.ndim else T))


def log_probabilities(probabilities: np.ndarray) -> np.ndarray:
    """Return log(p), shape (N, C) float64: the logits that p is the softmax of, but for a shift.

    A p of 0 counts as the smallest other one of its row, and as 1e-12 at most. All others keep
    their logarithm. Were they clipped at 1e-12, logits more than 28 apart would come nearer, and
    the temperature would be fitted to another head than the one whose logits it divides.
    """
    p = np.asarray(probabilities, np.float64)
    least = np.min(p, axis=1, keepdims=True, where=p > 0, initial=TINY)
    return np.log(np.maximum(p, least))


@dataclass(frozen=True)
class CalibratedPredictor:
    """A head whose probabilities are softened or sharpened by a temperature.

    Attributes
    ----------
    head : predictor
    temperature : float
    """

    head: Any
    temperature: float

    def predict_proba(self, X: np.ndarray) -> np.ndarray:
        """Return the calibrated probabilities, shape (N, C) float64."""
        return apply_temperature(self.head.predict_proba(X), self.temperature)

    def parts(self) -> dict[str, bytes]:
        """Return the files of the head; the temperature belongs into ``run.json``."""
        return self.head.parts()


def calibrate_head(head: Any, temperature: float, *, folded: bool = False) -> Any:
    """Return a predictor of calibrated probabilities; a linear or dense head stays of its kind.

    Such a head that was read from a run has the temperature in its weights: it is `folded`.
    """
    if not hasattr(head, "scaled"):
        return CalibratedPredictor(head, temperature)
    return head if folded else head.scaled(1 / temperature)


def cross_calibrate(
    y: np.ndarray,
    probabilities: np.ndarray,
    fold: np.ndarray,
    groups: np.ndarray,
    seed: int = 0,
    inner: Sequence[HeldOut] | None = None,
) -> tuple[np.ndarray, float]:
    """Calibrate held-out probabilities, each image by a temperature fitted without it.

    Parameters
    ----------
    y : ndarray of shape (M,), int
    probabilities : ndarray of shape (M, C)
        Of images that their head had not seen.
    fold : ndarray of shape (M,), int
        Which fold held each out: 0 to K - 1. If there is one only (a validation split), its groups
        are dealt into two halves at random, and each half is calibrated by the other.
    groups : ndarray of shape (M,), int
    seed : int, default=0
        Of the halves.
    inner : sequence of K (ndarray, ndarray), optional
        Of each fold the classes (m,) and probabilities (m, C) that inner folds held out among the
        images which its head learned from. Of several folds each has its temperature from these
        alone, and from the other folds where it has none. They join the halves of a single one.

    Returns
    -------
    probabilities : ndarray of shape (M, C), float64
        The calibrated ones. The predicted classes are the same.
    temperature : float
        Fitted on all M images, and on the inner ones of a single fold.

    Notes
    -----
    The heads of the other folds learned from the images of a fold, so a temperature fitted on what
    those held out is not wholly blind to them. One that is fitted on inner folds is.
    """
    nothing = y[:0], probabilities[:0]
    alone = list(inner or [nothing] * (int(fold.max()) + 1))
    joined = nothing
    if len(alone) == 1:
        joined, alone, fold = alone[0], [nothing] * 2, halve_groups(groups, seed)
    per_image = np.ones(len(y))
    for k in np.unique(fold):
        others = fold != k
        told = alone[k] if len(alone[k][0]) else (y[others], probabilities[others])
        per_image[~others] = fit_temperature(*pooled([joined, told]))
    temperature = fit_temperature(*pooled([joined, (y, probabilities)]))
    return apply_temperature(probabilities, per_image), temperature


def pooled(parts: Sequence[HeldOut]) -> HeldOut:
    """Return the images of all parts as one: classes (m,) and probabilities (m, C)."""
    classes, probabilities = zip(*parts, strict=True)
    return np.concatenate(classes), np.concatenate(probabilities)


def halve_groups(groups: np.ndarray, seed: int = 0) -> np.ndarray:
    """Deal groups into two halves at random, shape (N,) of 0 and 1."""
    unique, group_of = np.unique(groups, return_inverse=True)
    return (np.random.default_rng(seed).permutation(len(unique)) % 2)[group_of]


def choose_threshold(
    y: np.ndarray,
    probabilities: np.ndarray,
    groups: np.ndarray,
    error: float,
    delta: float = 0.05,
    weights: np.ndarray | None = None,
) -> Rejection:
    """Find the least confidence that promises an error of at most `error`, with risk `delta`.

    The most confident images are accepted, more and more of them, as long as the upper bound of
    their error [4]_ stays below `error`: selective classification with guaranteed risk [2]_. The
    numbers of images to try are fixed beforehand and tested in sequence, so that trying many costs
    nothing [3]_. A sequence starts where a test without a mistake would just pass. As a single
    mistake among the most confident images would end it, others start where one, five and twenty
    mistakes would just pass, if there are so many images: they share `delta` evenly, and what a
    sequence has brought as far as the next start is added to that one's share (the fallback
    procedure [6]_). Dependent images count for as many as would give the variance between groups.

    Parameters
    ----------
    y : ndarray of shape (M,), int
    probabilities : ndarray of shape (M, C)
        Of images that their head had not seen.
    groups : ndarray of shape (M,), int
    error : float
        Between 0 and 1.
    delta : float, default=0.05
        Risk that the true error is larger all the same.
    weights : ndarray of shape (M,), optional
        How often each image counts, where classes are to be more or less frequent than here. The
        images then count for as many as if each weighed what the heaviest does: its class could err
        as often as so few images may hide.

    Returns
    -------
    Rejection

    Raises
    ------
    DataError
        If `error` is not between 0 and 1.
    FitError
        If no threshold can promise so little error: the message says what could be promised.

    Notes
    -----
    The promise is for images like those scored. It is about heads fitted on part of the images
    (one a fold), while predictions come from the head fitted on all of them.
    """
    if not 0 < error < 1:
        raise DataError(f"an error of {error} cannot be asked for.", "Use 0.01 for 1%, say.")
    confidence = probabilities.max(axis=1)
    order = np.argsort(-confidence, kind="stable")
    wrong = (probabilities.argmax(axis=1) != y)[order]
    group = np.unique(groups, return_inverse=True)[1][order]
    confidence = confidence[order]
    weight = (np.ones(len(y)) if weights is None else weights / weights.max())[order]
    accepted = functools.partial(_accepted, confidence, wrong, group, weight, delta)
    n, bound = accepted(error)
    if not n:
        least = _least(lambda more: accepted(more)[0] > 0, error)
        raise FitError(
            f"no confidence promises an error of at most {error:g}: with {_counting(weight)}, "
            f"the least that can be promised is {least:g}.",
            "Ask for a larger error, add images, or fit a better head.",
        )
    return Rejection(
        error=error,
        threshold=float(confidence[n - 1]),
        coverage=float(weight[:n].sum() / weight.sum()),
        observed=float(np.average(wrong[:n], weights=weight[:n])),
        bound=bound,
        n=n,
    )


def _accepted(
    confidence: np.ndarray,
    wrong: np.ndarray,
    group: np.ndarray,
    weight: np.ndarray,
    delta: float,
    error: float,
) -> tuple[int, float]:
    """Return how many images are accepted, and the bound of their error; 0 and 1 if none are."""
    N = len(wrong)
    starts = _starts(group, weight, error, delta)
    steps = -(-N * np.arange(1, _STEPS + 1) // _STEPS)
    level, found = 0.0, (0, 1.0)
    for size in sorted({*starts, *steps.tolist()}):
        level += starts.get(size, 0.0)
        if level:
            # Images of equal confidence are accepted together.
            n = int(np.searchsorted(-confidence, -confidence[size - 1], side="right"))
            bound = _error_bound(wrong[:n], group[:n], weight[:n], level)
            level, found = (level, (n, bound)) if bound <= error else (0.0, found)
    return found


def _starts(group: np.ndarray, weight: np.ndarray, error: float, delta: float) -> dict[int, float]:
    """Return the numbers of images at which sequences of tests start, and their shares of delta.

    Few groups or light images count for fewer: there are enough of them where those numbers are
    reached that independent images would need.
    """
    from scipy.special import bdtrin

    new = np.zeros(len(group))
    new[np.unique(group, return_index=True)[1]] = 1
    effective = new.cumsum() * weight.cumsum() / np.arange(1, len(group) + 1)
    for count in range(len(_STARTS), 0, -1):
        needed = [float(bdtrin(mistakes, delta / count, error)) for mistakes in _STARTS[:count]]
        if needed[-1] <= effective.max():
            return {int((effective >= n).argmax()) + 1: delta / count for n in needed}
    return {}


def _least(promises: Callable[[float], bool], error: float) -> float:
    """Return the least error above `error`, in thousandths, that some confidence promises."""
    low, high = int(error * 1000), 1000
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if promises(middle / 1000) else (middle, high)
    return high / 1000


def _counting(weight: np.ndarray) -> str:
    n, effective = len(weight), int(weight.sum())
    count = "" if effective == n else f", which count for {effective} at this prevalence"
    return f"{n} scored images{count}"


def _error_bound(wrong: np.ndarray, group: np.ndarray, weight: np.ndarray, delta: float) -> float:
    """Return the upper bound of the share of `wrong`. The largest `weight` of all images is 1."""
    from scipy.special import betaincinv

    value, mean = float(np.average(wrong, weights=weight)), float(weight.mean())
    groups = np.count_nonzero(np.bincount(group)) * mean
    se = standard_error((wrong - value) * weight / mean, group)
    n = min(groups, value * (1 - value) / se**2) if se else groups
    errors = value * n
    return 1.0 if errors >= n else float(betaincinv(errors + 1, n - errors, 1 - delta))
