"""Embeddings laid out in the plane, so that what is alike lies together."""

from __future__ import annotations

import numpy as np
from threadpoolctl import threadpool_limits

from ..classify.cosine import unit_rows

MOST = 5000  # points: more would be a cloud, and take minutes
_COMPONENTS = 50
_PERPLEXITY = 30.0
_STEPS = 500  # of gradient descent: more of them change nothing to be seen


def choose_points(n: int, flagged: np.ndarray, seed: int, most: int = MOST) -> np.ndarray:
    """Return which of `n` images are points of the map, in order: at most `most`.

    Parameters
    ----------
    n : int
    flagged : ndarray of int
        Rows that are in whatever happens, the most important first.
    seed : int
        Of the draw among the others.
    most : int, default=5000

    Examples
    --------
    >>> choose_points(4, np.array([2]), seed=0).tolist()
    [0, 1, 2, 3]
    >>> points = choose_points(100, np.array([7, 8]), seed=0, most=10)
    >>> len(points), 7 in points, 8 in points
    (10, True, True)
    """
    if n <= most:
        return np.arange(n)
    first = np.asarray(list(dict.fromkeys(flagged.tolist()))[:most], np.int64)
    rest = np.setdiff1d(np.arange(n), first)
    drawn = np.random.default_rng(seed).choice(rest, most - len(first), replace=False)
    return np.sort(np.concatenate([first, drawn]))


def lay_out(X: np.ndarray, seed: int = 0) -> np.ndarray:
    """Return a place in the unit square for each embedding, by t-SNE [1]_ of 50 components.

    Parameters
    ----------
    X : ndarray of shape (N, D), float
    seed : int, default=0

    Returns
    -------
    ndarray of shape (N, 2), float64
        Neighbours lie together; distances between groups mean nothing.

    References
    ----------
    .. [1] L. van der Maaten, G. Hinton (2008), Visualizing data using t-SNE, Journal of Machine
       Learning Research 9.
    """
    X = unit_rows(X - X.mean(axis=0, dtype=np.float64))  # by direction, as a cosine sees them
    distinct = len(np.unique(X, axis=0)) if len(X) < 50 else len(X)
    if distinct < 5 or not float(X.var()) > 0:
        return _to_square(np.pad(X[:, :2], ((0, 0), (0, max(0, 2 - X.shape[1])))))
    from sklearn.decomposition import PCA
    from sklearn.manifold import TSNE

    components = min(_COMPONENTS, *X.shape)
    reduced = PCA(components, svd_solver="randomized", random_state=seed).fit_transform(X)
    perplexity = min(_PERPLEXITY, (len(X) - 1) / 3)
    if reduced.shape[1] < 2:
        return _to_square(np.pad(reduced, ((0, 0), (0, 1))))
    tsne = TSNE(perplexity=perplexity, init="pca", random_state=seed, max_iter=_STEPS)
    with threadpool_limits(1):  # its threads wait in circles: beside other work two are far slower
        return _to_square(tsne.fit_transform(reduced))


def _to_square(places: np.ndarray) -> np.ndarray:
    """Return places scaled into the unit square, the sides alike."""
    places = np.nan_to_num(np.asarray(places, np.float64))
    low, high = places.min(axis=0), places.max(axis=0)
    return (places - (low + high) / 2) / max(float((high - low).max()), 1e-12) + 0.5
