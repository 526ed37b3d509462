"""Expected calibration error: how far confidence is from accuracy, with chance taken off.

The mean distance between confidence and accuracy over bins [1]_ is too large where images are few:
noise has a distance from zero in every bin, on 50 images .1 and more for a perfect calibration. The
total of a bin is nearly normal, and its distance from zero a folded normal variable: so the bias is
known once it is known how far the true totals are from zero. These are taken to be those of a line
between log odds, Cox's recalibration [2]_, and a normal deviation from it by as much as the bins
vary beyond noise (by moments, as random effects [3]_). The bias is subtracted, as in the
corrections of [4]_ and [5]_.

Line and deviation are themselves noisy, and make a perfect calibration look worse than it is. For
the value both are shrunk towards zero by as much as may be noise [6]_; for the upper limit they are
taken as they are. With the signs of the bins given, the error is the mean of signed mistakes less a
known number, so it is known no worse than the accuracy is: the half width is Wilson's for that, of
the side that is longer. It is a third wider than need be, and covers.

References
----------
.. [1] C. Guo, G. Pleiss, Y. Sun, K. Q. Weinberger (2017), On calibration of modern neural networks,
   ICML.
.. [2] D. R. Cox (1958), Two further applications of a model for binary regression, Biometrika 45.
.. [3] R. DerSimonian, N. Laird (1986), Meta-analysis in clinical trials, Controlled Clinical
   Trials 7.
.. [4] C. A. T. Ferro, T. E. Fricker (2012), A bias-corrected decomposition of the Brier score,
   Quarterly Journal of the Royal Meteorological Society 138.
.. [5] A. Kumar, P. Liang, T. Ma (2019), Verified uncertainty calibration, NeurIPS.
.. [6] W. James, C. Stein (1961), Estimation with quadratic loss, Berkeley Symposium 4.
"""

from __future__ import annotations

import math

import numpy as np

from .intervals import Metric, size_for_mistakes, wilson

_BINS = 15
_LEAST_DOUBT = 1e-6  # a confidence of 1 counts as less by this
_PRIOR = 4.0  # variance of the line's two coefficients: only a perfect score needs it
_STEPS = 25


def expected_calibration_error(
    y: np.ndarray, probabilities: np.ndarray, bins: int = _BINS
) -> float:
    """Mean distance between confidence and accuracy [1]_, over bins of equally many images.

    Bins of equal width, as in the paper, leave most bins nearly empty when a classifier is sure of
    itself. Equal confidences share a bin, so the order of the images does not matter. Of few images
    it is too large: `calibration_error` is not.

    Parameters
    ----------
    y : ndarray of shape (N,), int
        True classes.
    probabilities : ndarray of shape (N, C)
        Each row sums to 1.
    bins : int, default=15
        Number of bins.

    Returns
    -------
    float
        0 for perfect calibration, at most 1.
    """
    confidence = probabilities.max(axis=1)
    gap = (probabilities.argmax(axis=1) == y) - confidence
    return float(np.abs(np.bincount(_bins(confidence, bins), weights=gap)).sum() / len(y))


def calibration_error(
    y: np.ndarray, probabilities: np.ndarray, groups: np.ndarray | None = None
) -> Metric:
    """Estimate the calibration error on images without end, with a 95% interval.

    Parameters
    ----------
    y : ndarray of shape (N,), int
        True classes.
    probabilities : ndarray of shape (N, C)
        Each row sums to 1.
    groups : ndarray of shape (N,), optional
        Labels of clusters of dependent images. By default, every image stands alone.

    Returns
    -------
    Metric
        0 where no miscalibration is seen beyond chance. The more images, the nearer the value is to
        `expected_calibration_error`.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> confidence = rng.uniform(0.5, 1, 100)  # perfectly calibrated
    >>> y = (rng.random(100) > confidence).astype(int)
    >>> p = np.column_stack([confidence, 1 - confidence])
    >>> print(f"{expected_calibration_error(y, p):.2f} by chance; {calibration_error(y, p)}")
    0.11 by chance; 0.0000 (0.0000 to 0.1057)
    """
    confidence = np.asarray(probabilities.max(axis=1), np.float64)
    correct = probabilities.argmax(axis=1) == y
    group = np.arange(len(y)) if groups is None else np.unique(groups, return_inverse=True)[1]
    value, larger = (
        _debiased(confidence, correct, group.reshape(-1), shrunk) for shrunk in (True, False)
    )
    share = float((~correct).mean())
    mistakes = wilson(share, size_for_mistakes(~correct, group.reshape(-1)))
    half = max(mistakes.high - share, share - mistakes.low)
    return Metric(value, max(0.0, value - half), min(1.0, max(value, larger) + half))


def _debiased(
    confidence: np.ndarray, correct: np.ndarray, group: np.ndarray, shrunk: bool
) -> float:
    """Return the mean distance over bins less its bias, at least 0."""
    N, bins = len(confidence), _bins(confidence, _BINS)
    curve = _curve(confidence, correct, shrunk)
    seen, line, noise = (
        np.bincount(bins, weights=w) / N
        for w in (correct - confidence, curve - confidence, curve * (1 - curve) / N)
    )
    used = np.bincount(bins) > 0
    seen, line = seen[used], line[used]
    noise = np.maximum(noise[used], 1e-16) * _design_effect(bins, group, correct - curve)
    squares, k = float(((seen - line) ** 2 / noise).sum()), len(seen)
    chance = k + np.sqrt(2 * k) if shrunk else k  # of a chi-squared variable: mean and deviation
    deviation = max(0.0, (squares - chance) / k) * noise
    bias = _mean_distance(line, noise + deviation) - _mean_distance(line, deviation)
    return max(0.0, float((np.abs(seen) - bias).sum()))


def _bins(confidence: np.ndarray, bins: int) -> np.ndarray:
    rank = np.searchsorted(np.sort(confidence), confidence)
    return rank * bins // len(confidence)


def _mean_distance(mean: np.ndarray, variance: np.ndarray) -> np.ndarray:
    """Mean distance from zero of normal variables: that of folded normal ones."""
    deviation = np.sqrt(np.maximum(variance, 1e-20))
    ratio = mean / deviation
    erf = np.array([math.erf(r / math.sqrt(2)) for r in ratio])
    return deviation * math.sqrt(2 / math.pi) * np.exp(-(ratio**2) / 2) + mean * erf


def _design_effect(bins: np.ndarray, group: np.ndarray, residual: np.ndarray) -> float:
    """By how much dependent images raise the variance of the bins' totals; 1 if there are none."""
    pair = np.unique(bins * (int(group.max()) + 1) + group, return_inverse=True)[1]
    totals = np.bincount(pair, weights=residual)
    alone = float(residual @ residual)
    return max(1.0, float(totals @ totals) / alone) if alone else 1.0


def _curve(confidence: np.ndarray, correct: np.ndarray, shrunk: bool) -> np.ndarray:
    """Probability of being right, by confidence: a line between log odds.

    The line is ``logit c = logit f + a + b x``, with x the standardised logit of the confidence f,
    and perfect calibration is a = b = 0. With twice the gain in log likelihood as a chi-squared of
    two degrees of freedom, James and Stein's factor is 1 - 2 / chi-squared, or 0 if that is less.
    """
    doubt = np.maximum(1 - confidence, _LEAST_DOUBT)
    logit = np.log(np.maximum(confidence, _LEAST_DOUBT) / doubt)
    x = (logit - logit.mean()) / (logit.std() + 1e-9)
    design = np.column_stack([np.ones_like(x), x])
    line = np.zeros(2)
    for _ in range(_STEPS):  # Newton's method
        curve = 1 / (1 + np.exp(-(logit + design @ line)))
        slope = design.T @ (curve - correct) + line / _PRIOR
        weight = (curve * (1 - curve))[:, None]
        step = np.linalg.solve((design * weight).T @ design + np.eye(2) / _PRIOR, slope)
        line -= np.clip(step, -1, 1)
        if np.abs(step).max() < 1e-4:
            break
    sign = np.where(correct, -1.0, 1.0)
    losses = [np.logaddexp(0, sign * (logit + design @ part)).sum() for part in (0 * line, line)]
    gain = 2 * float(losses[0] - losses[1])
    if shrunk:
        line *= max(0.0, 1 - 2 / gain) if gain > 0 else 0.0
    return 1 / (1 + np.exp(-(logit + design @ line)))
