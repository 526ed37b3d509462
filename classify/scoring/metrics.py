"""Metrics of a classifier, each with a 95% interval that respects copies and patients.

Images of one group (copies of a file, photos of one patient) are not independent, and an interval
that takes them for such is too narrow. By its influence function each image moves a metric by some
amount; these are summed within groups, and the sum of their squares is the cluster-robust variance.
A share of images gets Wilson's interval [1]_ for as many independent images as would give that
variance, the effective sample size [2]_. It stays inside 0 and 1 and does not collapse when the
score is perfect. For independent images the interval of the accuracy is exactly Wilson's. Where
images are few, what they do not show matters most, and each metric has a way of its own: see
`tlx.classify.scoring.classes`, `log_loss`, `roc` and `ece`.

References
----------
.. [1] E. B. Wilson (1927), Probable inference, the law of succession, and statistical inference,
   Journal of the American Statistical Association 22.
.. [2] E. L. Korn, B. I. Graubard (1998), Confidence intervals for proportions with small expected
   number of positive counts estimated from survey data, Survey Methodology 24.
"""

from __future__ import annotations

import numpy as np

from ...errors import DataError
from .classes import balanced_accuracy, f1_counts, macro_f1, recall_counts
from .intervals import Metric, effective_size, wilson
from .log_loss import image_loss, log_loss
from .roc import mean_area, roc_auc

METRICS = ("accuracy", "balanced_accuracy", "macro_f1", "log_loss", "roc_auc")
LOWER_IS_BETTER = ("log_loss",)


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
    `benchmarks/honesty.py` measures how often they hold the truth: from 50 images on, 92% or more,
    also of unequal classes and of some ten groups.
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
    predicted, C = p.argmax(axis=1), p.shape[1]
    accuracy, influence = _accuracy(y, predicted)
    metrics = {
        "accuracy": wilson(accuracy, effective_size(accuracy, influence, group)),
        "balanced_accuracy": balanced_accuracy(y, predicted, C, group),
        "macro_f1": macro_f1(y, predicted, C, group),
        "log_loss": log_loss(y, p, group),
    }
    area = roc_auc(y, p, group)
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
        return mean_area(y, probabilities)
    predicted, C = probabilities.argmax(axis=1), probabilities.shape[1]
    if metric == "accuracy":
        return _accuracy(y, predicted)
    counts = {"balanced_accuracy": recall_counts, "macro_f1": f1_counts}[metric]
    return counts(y, predicted, C).influences(len(y))


def confusion_matrix(y: np.ndarray, predicted: np.ndarray, C: int) -> np.ndarray:
    """Count images by true class (rows) and predicted class (columns), shape (C, C), int."""
    return np.bincount(np.asarray(y) * C + predicted, minlength=C * C).reshape(C, C)


def _accuracy(y: np.ndarray, predicted: np.ndarray) -> tuple[float, np.ndarray]:
    correct = (y == predicted).astype(np.float64)
    value = float(correct.mean())
    return value, correct - value


def _mean_loss(y: np.ndarray, probabilities: np.ndarray) -> tuple[float, np.ndarray]:
    loss = image_loss(np.asarray(probabilities[np.arange(len(y)), y], np.float64))
    value = float(loss.mean())
    return value, loss - value
