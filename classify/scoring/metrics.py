"""Metrics of a classifier, each with a 95% interval that respects copies and patients.

Images of one group (copies of a file, photos of one patient) are not independent, and an interval
that takes them for such is too narrow. Every metric here is linearised: its influence function says
by how much each image moves it. The influences are summed within groups, and the sum of their
squares is the cluster-robust variance. Metrics between 0 and 1 then get Wilson's interval [1]_ for
as many images as would give that variance, the effective sample size [2]_. It stays inside 0 and 1
and does not collapse when the score is perfect. For independent images the interval of the accuracy
is exactly Wilson's.

References
----------
.. [1] E. B. Wilson (1927), Probable inference, the law of succession, and statistical inference,
   Journal of the American Statistical Association 22.
.. [2] E. L. Korn, B. I. Graubard (1998), Confidence intervals for proportions with small expected
   number of positive counts estimated from survey data, Survey Methodology 24.
.. [3] E. R. DeLong, D. M. DeLong, D. L. Clarke-Pearson (1988), Comparing the areas under two or
   more correlated receiver operating characteristic curves, Biometrics 44.
.. [4] C. Guo, G. Pleiss, Y. Sun, K. Q. Weinberger (2017), On calibration of modern neural networks,
   ICML.
"""

from __future__ import annotations

import numpy as np

from ...errors import DataError
from .intervals import Metric, Z, standard_error, wilson

_EPS = float(np.finfo(np.float64).eps)  # probabilities are clipped by it, as in scikit-learn
_WORST = -float(np.log(_EPS))  # so this is the largest loss of an image


def score(
    y: np.ndarray, probabilities: np.ndarray, groups: np.ndarray | None = None
) -> dict[str, Metric]:
    """Score probabilities against the true classes.

    Parameters
    ----------
    y : ndarray of shape (N,), int
        True classes, 0 to C - 1.
    probabilities : ndarray of shape (N, C)
        Each row sums to 1. The class of the largest is the prediction.
    groups : ndarray of shape (N,), optional
        Labels of clusters of dependent images. By default, every image stands alone.

    Returns
    -------
    dict of str to Metric
        ``accuracy``, ``balanced_accuracy``, ``macro_f1``, ``log_loss`` and ``roc_auc``, in this
        order, with scikit-learn's definitions. ``roc_auc`` is that of class 1 for two classes, else
        the mean over the classes against the rest, of those classes that have both. It is left out
        if there are none.

    Raises
    ------
    DataError
        If the shapes do not fit together or a class is out of range.

    Notes
    -----
    The intervals describe how the metrics would vary with other test images, for this classifier.
    The variance is that of large samples: with a handful of groups, intervals are too narrow. Where
    it vanishes, as for a perfect score, the effective sample size is the number of groups, and for
    the ROC AUC the number of groups in the smallest class.
    """
    y, p = np.asarray(y), np.asarray(probabilities, np.float64)
    if p.ndim != 2 or y.shape != p.shape[:1] or not len(y):
        raise DataError(
            f"y of shape {y.shape} and probabilities of shape {p.shape} do not fit together.",
            "Pass y (N,) and probabilities (N, C) of at least one image.",
        )
    if y.min() < 0 or y.max() >= p.shape[1]:
        raise DataError(
            f"y has classes {y.min()} to {y.max()}, probabilities have {p.shape[1]} columns.",
            "Pass one column a class.",
        )
    group = np.arange(len(y)) if groups is None else np.unique(groups, return_inverse=True)[1]
    group = group.reshape(-1)
    predicted = p.argmax(axis=1)
    metrics = {
        "accuracy": wilson(*_accuracy(y, predicted), group),
        "balanced_accuracy": wilson(*_balanced_accuracy(y, predicted), group),
        "macro_f1": wilson(*_macro_f1(y, predicted, p.shape[1]), group),
        "log_loss": _log_loss(y, p, group),
    }
    area = _roc_auc(y, p, group)
    return metrics if area is None else {**metrics, "roc_auc": area}


def influences(
    metric: str, y: np.ndarray, probabilities: np.ndarray
) -> tuple[float, np.ndarray] | None:
    """Return a metric's value and by how much each image moves it.

    Parameters
    ----------
    metric : str
        One that `score` gives.
    y : ndarray of shape (N,), int
        True classes.
    probabilities : ndarray of shape (N, C)

    Returns
    -------
    value : float
    influence : ndarray of shape (N,), float64
        Of mean zero. On other images the value errs by about the mean influence. None of both where
        `score` leaves the metric out.
    """
    if metric == "log_loss":
        return _mean_loss(y, probabilities)
    if metric == "roc_auc":
        return _mean_area(y, probabilities)
    predicted = probabilities.argmax(axis=1)
    if metric == "macro_f1":
        return _macro_f1(y, predicted, probabilities.shape[1])
    return {"accuracy": _accuracy, "balanced_accuracy": _balanced_accuracy}[metric](y, predicted)


def confusion_matrix(y: np.ndarray, predicted: np.ndarray, C: int) -> np.ndarray:
    """Count images by true class (rows) and predicted class (columns), shape (C, C), int."""
    return np.bincount(np.asarray(y) * C + predicted, minlength=C * C).reshape(C, C)


def expected_calibration_error(y: np.ndarray, probabilities: np.ndarray, bins: int = 15) -> float:
    """Mean distance between confidence and accuracy [4]_, over bins of equally many images.

    Bins of equal width, as in the paper, leave most bins nearly empty when a classifier is sure of
    itself. Equal confidences share a bin, so the order of the images does not matter.

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
    rank = np.searchsorted(np.sort(confidence), confidence)
    return float(np.abs(np.bincount(rank * bins // len(y), weights=gap)).sum() / len(y))


# Each of these returns a value and the influence (N,) of the images, of mean zero, such that the
# error of the value is about the mean influence.


def _accuracy(y: np.ndarray, predicted: np.ndarray) -> tuple[float, np.ndarray]:
    correct = (y == predicted).astype(np.float64)
    value = float(correct.mean())
    return value, correct - value


def _balanced_accuracy(y: np.ndarray, predicted: np.ndarray) -> tuple[float, np.ndarray]:
    """Mean recall r_c of the classes in y: influence (correct - r_y) / (share of y) / classes."""
    correct = (y == predicted).astype(np.float64)
    size = np.bincount(y)
    recall = np.bincount(y, weights=correct) / np.maximum(size, 1)
    classes = np.count_nonzero(size)
    return float(recall.sum() / classes), (correct - recall[y]) * len(y) / (size[y] * classes)


def _macro_f1(y: np.ndarray, predicted: np.ndarray, C: int) -> tuple[float, np.ndarray]:
    """Mean F_c = 2 TP / (true + predicted), over the classes in either.

    Its influence is (2 [true and predicted] - F_c [true] - F_c [predicted]) N / (true + predicted),
    summed over c.
    """
    size = np.bincount(y, minlength=C) + np.bincount(predicted, minlength=C)
    hits = np.bincount(y[y == predicted], minlength=C)
    f1 = 2 * hits / np.maximum(size, 1)
    classes = np.count_nonzero(size)
    gain = np.where(y == predicted, 2 / size[y], 0)
    loss = f1[y] / size[y] + f1[predicted] / size[predicted]
    return float(f1.sum() / classes), (gain - loss) * len(y) / classes


def image_loss(own: np.ndarray) -> np.ndarray:
    """Return -log p for the probabilities of the true classes, clipped as scikit-learn does."""
    return -np.log(np.clip(own, _EPS, 1 - _EPS))


def _mean_loss(y: np.ndarray, probabilities: np.ndarray) -> tuple[float, np.ndarray]:
    loss = image_loss(np.asarray(probabilities[np.arange(len(y)), y], np.float64))
    value = float(loss.mean())
    return value, loss - value


def _log_loss(y: np.ndarray, probabilities: np.ndarray, group: np.ndarray) -> Metric:
    """Mean loss, with an interval that is symmetric on the log scale."""
    value, influence = _mean_loss(y, probabilities)
    if group.max() == 0:  # one group says nothing of the variation
        return Metric(value, 0.0, _WORST)
    factor = np.exp(Z * standard_error(influence, group) / value)
    return Metric(value, float(value / factor), max(value, min(float(value * factor), _WORST)))


def _roc_auc(y: np.ndarray, probabilities: np.ndarray, group: np.ndarray) -> Metric | None:
    found = _mean_area(y, probabilities)
    if found is None:
        return None
    sides = [side for c in _ranked(y, probabilities.shape[1]) for side in (y == c, y != c)]
    groups = int(group.max()) + 1
    return wilson(
        *found,
        group,
        fallback=min(len(np.unique(group[side])) for side in sides),
        # A mean over classes varies less than one area, so it may count for more images.
        most=groups * len(sides) // 2,
    )


def _ranked(y: np.ndarray, C: int) -> list[int]:
    """Classes whose areas the ROC AUC is the mean of."""
    return [c for c in ([1] if C == 2 else range(C)) if 0 < np.count_nonzero(y == c) < len(y)]


def _mean_area(y: np.ndarray, probabilities: np.ndarray) -> tuple[float, np.ndarray] | None:
    areas = [_area(y == c, probabilities[:, c]) for c in _ranked(y, probabilities.shape[1])]
    if not areas:
        return None
    values, parts = zip(*areas, strict=True)
    return float(np.mean(values)), np.sum(parts, axis=0) / len(parts)


def _area(positive: np.ndarray, scores: np.ndarray) -> tuple[float, np.ndarray]:
    """Area under one ROC curve, and the influences from DeLong's structural components [3]_.

    The component of a positive is the share of negatives below it, that of a negative the share of
    positives above it, ties counting half. Both come from midranks: among all, less among its kind.
    """
    component = _midranks(scores)
    component[positive] -= _midranks(scores[positive])
    component[~positive] -= _midranks(scores[~positive])
    p, n = np.count_nonzero(positive), np.count_nonzero(~positive)
    component = np.where(positive, component / n, 1 - component / p)
    value = float(component[positive].mean())
    return value, (component - value) * len(scores) / np.where(positive, p, n)


def _midranks(scores: np.ndarray) -> np.ndarray:
    """Ranks from 1, equal scores sharing their mean rank."""
    # Not scipy.stats.rankdata: its import takes longer (1 to 3 s) than a head of thousands of rows.
    _, place, count = np.unique(scores, return_inverse=True, return_counts=True)
    return (np.cumsum(count) - (count - 1) / 2)[place]
