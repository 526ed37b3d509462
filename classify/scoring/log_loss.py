"""Log loss with an interval that knows of the mistakes that few images do not show.

On easy data nearly all of the log loss is that of a few mistakes. Among 50 images there may be none
of them, and an interval made from the spread of the losses seen held the truth in 70% of samples.
Here the loss is taken apart: how many images are wrong, for which there is Wilson's interval, and
how much a wrong and a right one loses. What a mistake loses is told by the mistakes seen and by one
more that was not: it loses what the probabilities expect a mistake to lose, or as much as the worst
one seen. The parts are put together by the recovery of variances [1]_, which takes each limit from
what is likely at that limit.

References
----------
.. [1] G. Y. Zou, A. Donner (2008), Construction of confidence limits about effect measures: a
   general approach, Statistics in Medicine 27.
"""

from __future__ import annotations

import numpy as np

from .intervals import EPS, WORST, Metric, Z, size_for_mistakes, standard_error, student, wilson

_LEAST = 0.1  # of the value: the lowest lower limit, for a loss is never 0


def image_loss(own: np.ndarray) -> np.ndarray:
    """Return -log p for the probabilities of the true classes, clipped as scikit-learn does."""
    return -np.log(np.clip(own, EPS, 1 - EPS))


def log_loss(y: np.ndarray, probabilities: np.ndarray, group: np.ndarray) -> Metric:
    """Mean loss with its 95% interval.

    Parameters
    ----------
    y : ndarray of shape (N,), int
    probabilities : ndarray of shape (N, C), float64
    group : ndarray of shape (N,), int
        0 to G - 1, a number a cluster of dependent images. A single one says nothing of the
        variation: the interval is from 0 to the largest loss there is.

    Returns
    -------
    Metric

    Examples
    --------
    >>> y = np.zeros(50, int)  # all right, and as sure of it as that
    >>> metric = log_loss(y, np.tile([0.99, 0.01], (50, 1)), np.arange(50))
    >>> f"{metric.value:.3f}, {metric.high:.2f}"
    '0.010, 0.35'
    """
    loss = image_loss(probabilities[np.arange(len(y)), y])
    value = float(loss.mean())
    if group.max() == 0:
        return Metric(value, 0.0, WORST)
    wrong = probabilities.argmax(axis=1) != y
    t = student(int(group.max()))
    n, share = size_for_mistakes(wrong, group) * (Z / t) ** 2, float(wrong.mean())
    rate = wilson(share, n)
    seen = share * n  # independent mistakes
    mean, spread, worst = (
        (loss[wrong].mean(), loss[wrong].var(), loss[wrong].max()) if seen else (0.0, 0.0, 0.0)
    )
    unseen = max(_expected(probabilities), worst)
    # Mean and variance of the mistakes seen and of one more.
    with_unseen = (seen * mean + unseen) / (seen + 1)
    wider = seen / (seen + 1) * (spread + (unseen - mean) ** 2 / (seen + 1))
    usual = 0.0 if wrong.all() else float(loss[~wrong].mean())
    right = (t * standard_error(np.where(wrong, 0.0, loss - usual), group)) ** 2
    above = (
        ((rate.high - share) * (with_unseen - usual)) ** 2
        + right
        + (t * rate.high) ** 2 * wider / (seen + 1)
    )
    below = (
        ((share - rate.low) * (mean - usual)) ** 2 + right + (t * share) ** 2 * spread / (seen or 1)
    )
    low = max(value - float(np.sqrt(below)), _LEAST * value)
    return Metric(value, low, max(value, min(value + float(np.sqrt(above)), WORST)))


def _expected(probabilities: np.ndarray) -> float:
    """Return the mean loss of a mistake, if the probabilities are right.

    An image is of the class c, which is not predicted, with probability p_c, and then loses
    -log p_c.
    """
    others = np.array(probabilities)
    others[np.arange(len(others)), others.argmax(axis=1)] = 0
    total = others.sum()
    return float((others * image_loss(others)).sum() / total) if total else WORST
