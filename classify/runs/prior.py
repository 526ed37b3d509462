"""How frequent a run takes its classes to be before it has seen an image."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..heads.registry import heads
from .run import Run


def learned_prior(y: np.ndarray, C: int, model: str, params: dict[str, Any]) -> list[float]:
    """Return the shares (C,) that the probabilities of a head suppose.

    Those of the images that it learned from; even ones, where every class was given the same
    weight, or for a head that does not learn how frequent they are.

    Parameters
    ----------
    y : ndarray of int
        Classes of the images that it learned from.
    C : int
    model : str
        Name of the head.
    params : dict
        Its ``class_weight`` among them, if it has one.

    Examples
    --------
    >>> y = np.array([0, 0, 0, 1])
    >>> learned_prior(y, 2, "logreg", {}), learned_prior(y, 2, "centroid", {})
    ([0.75, 0.25], [0.5, 0.5])
    """
    counts = np.bincount(y, minlength=C)
    head = heads().get(model)
    if params.get("class_weight") == "balanced" or (head is not None and not head.learns_prior):
        counts = (counts > 0).astype(int)
    return (counts / max(counts.sum(), 1)).tolist()


def run_prior(run: Run) -> np.ndarray:
    """Return the shares (C,) that the probabilities of a run suppose: see `learned_prior`.

    A run of before does not tell. Where its head learned from the very images that it was scored
    on (folds), these do; otherwise those held out stand for them.
    """
    if run.info.prior is not None:
        return np.array(run.info.prior)
    scored = run.predictions()
    labels = dict(zip(map(bytes, scored.digest), scored.label.tolist(), strict=True))
    learned = [labels.get(bytes(digest), -1) for digest in scored.trained_on]
    y = np.array(learned) if learned and min(learned) >= 0 else scored.label
    return np.array(learned_prior(y, len(run.class_names), run.info.model, run.info.params))
