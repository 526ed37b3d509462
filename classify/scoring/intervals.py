"""Values with 95% intervals: of dependent images, of folds, and of draws of few images."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

Z = 1.959963984540054  # 97.5% point of the normal distribution
EPS = float(np.finfo(np.float64).eps)  # probabilities are clipped by it, as in scikit-learn
WORST = -float(np.log(EPS))  # so this is the largest log loss of an image


@dataclass(frozen=True)
class Metric:
    """A value and its 95% interval."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.value:.4f} ({self.low:.4f} to {self.high:.4f})"


def standard_error(influence: np.ndarray, group: np.ndarray) -> float:
    """Root of the sum over groups of squared influence, over N."""
    total = np.bincount(group, weights=influence)
    error = float(np.sqrt(total @ total)) / len(influence)
    # What rounding leaves of a sum of zeros is zero.
    return error if error > 1e-12 * max(1.0, float(np.abs(influence).max())) else 0.0


def student(degrees: float) -> float:
    """97.5% point of Student's t, by the expansion of Cornish and Fisher from 3 degrees on.

    Within 0.5%, and without the import of scipy.special, which takes longer than to fit a head.
    """
    if degrees < 3:
        return 12.7062 if degrees < 2 else 4.3027
    terms = (
        (Z**3 + Z) / 4,
        (5 * Z**5 + 16 * Z**3 + 3 * Z) / 96,
        (3 * Z**7 + 19 * Z**5 + 17 * Z**3 - 15 * Z) / 384,
    )
    return Z + sum(term / degrees ** (k + 1) for k, term in enumerate(terms))


def effective_size(
    value: float, influence: np.ndarray, group: np.ndarray, most: float | None = None
) -> float:
    """Sample size that explains the error of a share: ``value (1 - value) / SE^2``.

    It is the number of groups where the error vanishes, and at most `most`, by default the number
    of groups too: images that are all right or all wrong hide their variance, and must not make a
    few groups count for many.
    """
    groups = int(group.max()) + 1
    error = standard_error(influence, group)
    n = value * (1 - value) / error**2 if error else groups
    return float(np.clip(n, 1, most or groups))


def size_for_mistakes(wrong: np.ndarray, group: np.ndarray) -> float:
    """Independent images that a share of mistakes is worth.

    Mistakes count for as many as there are groups with one. So images of a group are worth more
    than one image as far as its mistakes are scattered.
    """
    share = float(wrong.mean())
    groups = len(np.unique(group[wrong]))
    return effective_size(share, wrong - share, group, groups / share if groups else None)


def wilson(value: float, n: float) -> Metric:
    """Wilson's interval of a share among n independent images; n need not be whole."""
    shrink = 1 + Z**2 / n
    centre = (value + Z**2 / (2 * n)) / shrink
    half = Z / shrink * np.sqrt(max(value * (1 - value), 0) / n + Z**2 / (4 * n**2))
    return Metric(
        value,
        max(0.0, min(value, float(centre - half))),
        min(1.0, max(value, float(centre + half))),
    )


def allow_for_folds(metrics: dict[str, Metric], n_folds: int) -> dict[str, Metric]:
    """Widen intervals for what the folds of cross-validation share.

    Each of two images in different folds is learned from when the other is scored, so their errors
    go together, and an interval that takes them for independent is too narrow: with random labels
    it held chance in 87 of 100 data sets. There is no unbiased estimate of that variance [1]_.
    Nadeau and Bengio [2]_ take the correlation of two folds to be the share 1 / K of an image set
    that one fold is. The mean of K folds, each of variance s, then has the variance
    ``s / K * (1 + (K - 1) / K)``: half widths grow by the root of the last factor, 1.34 for K = 5.
    For a head that hardly changes with its training images this is wider than need be. The heads
    that are scored learned from the share (K - 1) / K of the images, and the one that is kept from
    all: it is usually better than the value, and the wider interval holds its worth as well.

    Parameters
    ----------
    metrics : dict of str to Metric
        With intervals for independent images or groups.
    n_folds : int
        K; nothing changes for 1, a validation split.

    Returns
    -------
    dict of str to Metric

    References
    ----------
    .. [1] Y. Bengio, Y. Grandvalet (2004), No unbiased estimator of the variance of K-fold
       cross-validation, Journal of Machine Learning Research 5.
    .. [2] C. Nadeau, Y. Bengio (2003), Inference for the generalization error, Machine Learning 52.
    """
    factor = float(np.sqrt(variance_of_folds(n_folds)))
    return {name: _widen(name, metric, factor) for name, metric in metrics.items()}


def variance_of_folds(n_folds: int) -> float:
    """Return by what factor folds raise the variance that independent images would have.

    Examples
    --------
    >>> variance_of_folds(5), variance_of_folds(1)
    (1.8, 1.0)
    """
    return 1 + (n_folds - 1) / n_folds


def _widen(name: str, metric: Metric, factor: float) -> Metric:
    value, low, high = metric.value, metric.low, metric.high
    return Metric(
        value,
        max(0.0, value - factor * (value - low)),
        min(WORST if name == "log_loss" else 1.0, value + factor * (high - value)),
    )


def average_draws(
    draws: list[dict[str, Metric]], *, learned_anew: bool = True
) -> dict[str, Metric]:
    """Return the mean of each metric over draws of the training images, and its 95% interval.

    Two things are random: which images were drawn to learn from, and which there are to score. For
    R draws with values v_r the first has a standard error of std(v) / sqrt(R), and Student's t with
    R - 1 degrees of freedom gives it a half width. The half width of the second is the mean one of
    the intervals of single draws (the same images are scored each time, so averaging does not
    shrink it). The two are independent, so their squares add. As a single draw's interval holds
    some of the chance of its drawing, the sum is rather too wide than too narrow. Of one draw it
    can say nothing but the second.

    Repeats of the folds over the same images are another matter: which images were learned from is
    no chance then, only how they were dealt, and the intervals of single repeats, widened for their
    folds, held the worth of the kept head in 97 of 100 data sets already. What the dealing adds is
    small, and the normal distribution's quantile gives it; Student's would double the interval of
    two repeats (with 300 images of 5 classes their accuracies have a deviation of 1.1 points).

    Parameters
    ----------
    draws : list of R dict
        A metric that some draw lacks is left out.
    learned_anew : bool, default=True
        Whether each draw learned from other images; not so for repeats of the folds.
    """
    from scipy.special import stdtrit

    R = len(draws)
    quantile = 0.0 if R == 1 else float(stdtrit(R - 1, 0.975)) if learned_anew else Z
    out = {}
    for name in draws[0]:
        if not all(name in draw for draw in draws):
            continue
        values = np.array([draw[name].value for draw in draws])
        value = float(values.mean())
        below = float(np.mean([draw[name].value - draw[name].low for draw in draws]))
        above = float(np.mean([draw[name].high - draw[name].value for draw in draws]))
        drawn = quantile * float(values.std(ddof=min(R - 1, 1)) / np.sqrt(R))
        high = value + float(np.hypot(above, drawn))
        bounded = name != "log_loss"
        low = max(0.0, value - float(np.hypot(below, drawn)))
        out[name] = Metric(value, low, min(1.0, high) if bounded else high)
    return out
