"""How frequent the classes are where a head is used, and what that makes of its probabilities.

A head that learned from as many cats as dogs takes every second image for a cat beforehand. Where
one in twenty is, Bayes' rule says what its probabilities become, as long as the images of each
class look as they did (label shift). N images, C classes.

References
----------
.. [1] M. Saerens, P. Latinne, C. Decaestecker (2002), Adjusting the outputs of a classifier to new
   a priori probabilities: a simple procedure, Neural Computation 14.
.. [2] J. N. K. Rao, A. J. Scott (1981), The analysis of categorical data from complex sample
   surveys: chi-squared tests for goodness of fit and independence in two-way tables, Journal of the
   American Statistical Association 76.
.. [3] W. James, C. Stein (1961), Estimation with quadratic loss, Proceedings of the fourth Berkeley
   symposium on mathematical statistics and probability 1.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from .intervals import Z, standard_error
from .tails import chi_square_tail

LEAST = 30  # images from which a prevalence is estimated
LEVEL = 0.05  # of the tests
_TOLERANCE = 1e-7  # change of a share at which EM has arrived
_ITERATIONS = 1000
_HALVINGS = 30  # of the interval that has an end of a confidence interval


def move_prior(probabilities: np.ndarray, old: np.ndarray, new: np.ndarray) -> np.ndarray:
    """Return probabilities for classes that are as frequent as `new` says, by Bayes' rule [1]_.

    Parameters
    ----------
    probabilities : ndarray of shape (N, C)
        For classes that are as frequent as `old` says.
    old, new : ndarray of shape (C,)
        Shares that sum to 1. Where `old` has none, there is nothing to move.

    Returns
    -------
    ndarray of shape (N, C), float64

    Examples
    --------
    >>> p = np.array([[0.9, 0.1], [0.5, 0.5]])
    >>> move_prior(p, np.array([0.5, 0.5]), np.array([0.1, 0.9])).round(2).tolist()
    [[0.5, 0.5], [0.1, 0.9]]
    """
    moved = np.asarray(probabilities, np.float64) * _ratio(new, old)
    return moved / moved.sum(axis=1, keepdims=True)


def _ratio(new: np.ndarray | float, old: np.ndarray) -> np.ndarray:
    return np.divide(new, old, out=np.zeros(len(old)), where=old > 0)


@dataclass(frozen=True)
class PriorEstimate:
    """How frequent the classes seem to be among images without labels.

    Attributes
    ----------
    share : ndarray of shape (C,)
        Estimates, drawn towards the shares learned with as far as chance may have moved them.
    low, high : ndarray of shape (C,)
        Their 95% intervals.
    p_value : float
        Of the hypothesis that they are as frequent as where the head learned.
    n : int
        Images.
    """

    share: np.ndarray
    low: np.ndarray
    high: np.ndarray
    p_value: float
    n: int

    @property
    def moved(self) -> bool:
        """Whether that hypothesis is refused at the level of 5%."""
        return self.p_value < LEVEL


def estimate_prior(
    probabilities: np.ndarray,
    learned: np.ndarray,
    scored: np.ndarray,
    y: np.ndarray,
    size: float | None = None,
) -> PriorEstimate:
    """Estimate how frequent the classes are among images without labels, and whether that is new.

    The estimate is the one of greatest likelihood, by the EM algorithm of Saerens, Latinne and
    Decaestecker [1]_. Their test compares its likelihood with that of the shares learned with. It
    takes these shares and the probabilities for exact, and among thousands of images finds a move
    where there is none but a head's own small errors: simulated, in up to 100% of cases. Here the
    likelihood is that of two samples instead: of these images and of the M scored ones, which have
    the same errors. The hypothesis is that both have the same shares, and twice the logarithm of
    the ratio is compared with chi-square of C - 1 degrees of freedom. The intervals allow for the
    scored images likewise: deviance times N + M over M.

    Of the way from the shares learned with to the most likely ones, 1 - (C - 1) / deviance is
    gone, as James and Stein would [3]_: chance alone goes C - 1 on average. Simulated, that gives
    the smaller loss where there are several classes.

    Parameters
    ----------
    probabilities : ndarray of shape (N, C)
        Calibrated, for the shares `learned`.
    learned : ndarray of shape (C,)
    scored : ndarray of shape (M, C)
        Probabilities of other images, whose heads had not seen them.
    y : ndarray of shape (M,), int
        Their classes. They count as if these were as frequent as `learned`.
    size : float, optional
        Independent images that the scored ones count for; by default M.

    Returns
    -------
    PriorEstimate

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> def images(share, n):
    ...     y = rng.random(n) < share
    ...     odds = np.exp(2 * rng.normal(2.0 * y - 1, 1))
    ...     return np.stack([1 / (1 + odds), odds / (1 + odds)], 1), y.astype(int)
    >>> found = estimate_prior(images(0.1, 500)[0], np.array([0.5, 0.5]), *images(0.5, 500))
    >>> found.moved, bool(found.low[1] < 0.1 < found.high[1])
    (True, True)
    """
    N, C = probabilities.shape
    inverse = _ratio(1.0, learned)
    ours, theirs = probabilities * inverse, scored * inverse
    size = float(len(y)) if size is None else size
    weight = label_weights(y, learned) * size / len(y)
    share, likelihood = _fit_shares(ours, np.ones(N), learned)
    both = [np.concatenate(pair) for pair in ((ours, theirs), (np.ones(N), weight))]
    apart = likelihood + _fit_shares(theirs, weight, learned)[1]
    deviance = 2 * (apart - _fit_shares(both[0], both[1], learned)[1])
    ends = [_interval(ours, share, c, Z**2 * (1 + N / size)) for c in range(C)]
    low, high = np.array(ends).T
    df = int((learned > 0).sum()) - 1
    share = learned + max(0.0, 1 - df / max(deviance, 1e-9)) * (share - learned)
    low, high = np.minimum(low, share), np.maximum(high, share)
    return PriorEstimate(share, low, high, chi_square_tail(df, deviance), N)


def label_weights(y: np.ndarray, prior: np.ndarray) -> np.ndarray:
    """Return by how much each image (N,) has to count for the classes to be as frequent as `prior`.

    Examples
    --------
    >>> label_weights(np.array([0, 0, 0, 1]), np.array([0.5, 0.5])).round(2).tolist()
    [0.67, 0.67, 0.67, 2.0]
    """
    share = np.bincount(y, minlength=len(prior)) / len(y)
    return _ratio(prior, share)[y]


def share_the_rest(stated: np.ndarray, learned: np.ndarray) -> np.ndarray:
    """Return shares (C,) of which some are stated; the others share what is left.

    They do so in the proportions that were learned, or evenly if nothing was learned of them.

    Parameters
    ----------
    stated : ndarray of shape (C,)
        NaN where nothing is stated.
    learned : ndarray of shape (C,)

    Examples
    --------
    >>> share_the_rest(np.array([0.1, np.nan, np.nan]), np.array([0.2, 0.6, 0.2])).round(3).tolist()
    [0.1, 0.675, 0.225]
    """
    rest = np.isnan(stated)
    others = np.where(rest, learned, 0)
    others = others / others.sum() if others.any() else rest / max(rest.sum(), 1)
    return np.where(rest, (1 - np.nansum(stated)) * others, stated)


def _fit_shares(
    ratios: np.ndarray, weight: np.ndarray, start: np.ndarray
) -> tuple[np.ndarray, float]:
    """Return the shares (C,) of greatest likelihood, and its logarithm.

    An image counts `weight` times. Its likelihood is the mean by share of its `ratios` (N, C):
    probabilities over the shares that they were learned with.
    """
    share = start
    for _ in range(_ITERATIONS):
        # The mean over the images of the probability of each class, given these shares.
        new = share * (weight / (ratios @ share) @ ratios) / weight.sum()
        change, share = np.abs(new - share).max(), new
        if change < _TOLERANCE:
            break
    return share, float(weight @ np.log(ratios @ share))


def _interval(ratios: np.ndarray, share: np.ndarray, c: int, allowed: float) -> tuple[float, float]:
    """Return the shares of class c at which the deviance is `allowed`; 0 and 1 where it is less.

    The other classes keep their proportions.
    """
    others = share.copy()
    others[c] = 0.0
    others = others / others.sum() if others.any() else others
    own, rest = ratios[:, c], ratios @ others

    def log_likelihood(s: float) -> float:
        with np.errstate(divide="ignore"):
            return float(np.log(s * own + (1 - s) * rest).sum())

    best = log_likelihood(share[c])

    def is_far(s: float) -> bool:
        return 2 * (best - log_likelihood(s)) > allowed

    return _end(is_far, share[c], 0.0), _end(is_far, share[c], 1.0)


def _end(is_far: Callable[[float], bool], inside: float, outside: float) -> float:
    if not is_far(outside):
        return outside
    for _ in range(_HALVINGS):
        middle = (inside + outside) / 2
        inside, outside = (inside, middle) if is_far(middle) else (middle, outside)
    return outside


@dataclass(frozen=True)
class PrevalenceShift:
    """Labels show that classes are not as frequent as where the head learned.

    Attributes
    ----------
    label : int
        The class whose share moved most.
    share, learned : float
        Its share here, and where the head learned.
    p_value : float
    """

    label: int
    share: float
    learned: float
    p_value: float


def prevalence_shift(
    y: np.ndarray, groups: np.ndarray, learned: np.ndarray, n_learned: int
) -> PrevalenceShift | None:
    """Test whether labels have other shares than those that a head learned from.

    Pearson's chi-square for two samples, as the images learned from are a sample, too. It is
    divided by how much more than of independent images the shares vary between groups (the first
    correction of Rao and Scott [2]_).

    Parameters
    ----------
    y : ndarray of shape (N,), int
    groups : ndarray of shape (N,), int
        Images of one group are dependent.
    learned : ndarray of shape (C,)
        Shares of the images learned from.
    n_learned : int
        How many those were.

    Returns
    -------
    PrevalenceShift or None
        None if the difference may be chance.

    Examples
    --------
    >>> even = np.array([0.5, 0.5])
    >>> prevalence_shift(np.arange(100) % 2, np.arange(100), even, 100)
    >>> found = prevalence_shift((np.arange(100) >= 5) * 1, np.arange(100), even, 100)
    >>> found.label, found.share, found.learned
    (0, 0.05, 0.5)
    """
    N, C = len(y), len(learned)
    share = np.bincount(y, minlength=C) / N
    pooled = (N * share + n_learned * learned) / (N + n_learned)
    there = np.flatnonzero(pooled)
    if len(there) < 2:
        return None
    difference = (share - learned)[there]
    scale = N * n_learned / (N + n_learned)
    chi2 = scale * float((difference**2 / pooled[there]).sum())
    p_value = chi_square_tail(len(there) - 1, chi2 / _design_effect(y, groups, share))
    if p_value >= LEVEL:
        return None
    ratio = np.abs(np.log(np.maximum(share, 1 / N) / np.maximum(learned, 1 / n_learned)))
    most = int(np.lexsort((ratio[there], np.abs(difference).round(9)))[-1])
    c = int(there[most])
    return PrevalenceShift(c, float(share[c]), float(learned[c]), p_value)


def _design_effect(y: np.ndarray, groups: np.ndarray, share: np.ndarray) -> float:
    """Return by how much the shares vary more than those of independent images, at least 1."""
    group = np.unique(groups, return_inverse=True)[1]
    there = np.flatnonzero(share)
    if len(there) < 2:  # one class: a group is as good as an image
        return len(y) / (int(group.max()) + 1)
    # (1 - share) * variance / (share (1 - share) / N), the mean over C - 1 degrees of freedom.
    variance = np.array([standard_error((y == c) - share[c], group) ** 2 for c in there])
    return max(1.0, float((variance * len(y) / share[there]).sum()) / (len(there) - 1))
