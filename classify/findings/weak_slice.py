"""Groups of similar images on which a run is wrong more often than on the rest, beyond chance.

The embeddings of the images that the run was scored on are clustered, and the mean loss of each
cluster is compared with that of the rest. What chance gives is what the largest difference of all
clusters is when losses are dealt anew to the images [1]_: so however many clusters are looked at,
of data sets without a weak slice at most 5% have a finding.

References
----------
.. [1] P. H. Westfall, S. S. Young (1993), Resampling-based multiple testing, Wiley.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator

import numpy as np

from .. import large
from ..heads.closed_form import spectrum
from .evidence import Evidence, Scored
from .finding import Finding, Flagged, Kind

_LEVEL = 0.05
_DEALT = 399  # times that losses are dealt anew
_LEAST = 10  # images of a slice
_TIMES = 2.0  # the loss of the rest, at least: of many images any difference is beyond chance
_MOST = 50  # clusters
_PER_CLUSTER = 30  # images, if there are that many
_COMPONENTS = 32
_SAMPLED = 5000  # images from which components and centres are found
_WORST = np.log(1000)  # a loss counts up to here, so that no single image makes a slice


def find_clusters(X: np.ndarray, rows: np.ndarray, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Cluster rows by k-means on their principal components.

    Parameters
    ----------
    X : ndarray of shape (N, D), float32
        Above `tlx.classify.large.MEMORY` it is read in blocks, and may be mapped from a file.
    rows : ndarray of shape (M,), int
        Those that are clustered.
    seed : int, default=0

    Returns
    -------
    cluster : ndarray of shape (M,), int
    distance : ndarray of shape (M,)
        From the centre of its cluster: small for a typical row.
    """
    from scipy.cluster.vq import kmeans2, vq
    from threadpoolctl import threadpool_limits

    rng = np.random.default_rng(seed)
    some = rng.permutation(len(rows))[:_SAMPLED]
    if large.is_large(X):
        blocks = [rows[block] for block in large.blocks_of(len(rows), X.shape[1])]
        A = np.asarray(X[rows[some]])
        mean = A.mean(axis=0)
        A -= mean
    else:
        X = X[rows]
        blocks, mean = [slice(None)], X.mean(axis=0)
        A = X[some] - mean
    with threadpool_limits(1, "blas"):  # see `tlx.classify.heads.closed_form`
        values, vectors = spectrum(A)
    axes, spread = vectors[:, -_COMPONENTS:].astype(np.float32), np.sqrt(values[-_COMPONENTS:])
    if len(A) < A.shape[1]:
        axes = A.T @ axes / np.maximum(spread, 1e-6).astype(np.float32)
    Z = np.concatenate([X[block] @ axes - mean @ axes for block in blocks]).astype(np.float64)
    k = int(np.clip(len(rows) // _PER_CLUSTER, 2, _MOST))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # that a cluster is empty: then it is no slice
        centres, _ = kmeans2(Z[some], k, iter=20, minit="++", rng=rng)
    return vq(Z, centres)


def weak_clusters(loss: np.ndarray, cluster: np.ndarray, seed: int = 0) -> list[int]:
    """Return the clusters whose mean loss is above that of the rest beyond chance, the worst first.

    It is at least twice that of the rest as well.

    Parameters
    ----------
    loss : ndarray of shape (M,)
    cluster : ndarray of shape (M,), int
    seed : int, default=0
    """
    M, size = len(loss), np.bincount(cluster).astype(float)
    able = np.flatnonzero((size >= _LEAST) & (size <= M / 2))
    if not len(able) or loss.max() == loss.min():
        return []
    spread = np.sqrt(size[able] * (1 - size[able] / M))

    def excess(losses: np.ndarray) -> np.ndarray:
        return np.bincount(cluster, losses, len(size))[able] / spread

    centred, rng = loss - loss.mean(), np.random.default_rng(seed)
    found = excess(centred)
    chance = [excess(rng.permutation(centred)).max() for _ in range(_DEALT)]
    p = (1 + (np.array(chance)[:, None] >= found).sum(axis=0)) / (1 + _DEALT)
    total = np.bincount(cluster, loss, len(size))[able]
    rest = (loss.sum() - total) / (M - size[able])
    weak = (p <= _LEVEL) & (total / size[able] >= _TIMES * rest)
    return [int(able[k]) for k in np.argsort(-found) if weak[k]]


def _by_group(scored: Scored, groups: np.ndarray) -> np.ndarray:
    """Return one place in `scored` for each group: its images are not independent."""
    return np.unique(groups[scored.rows], return_index=True)[1]


def _find(evidence: Evidence) -> Iterator[Finding]:
    table = evidence.table
    if not evidence.scored:
        return
    scored = evidence.scored[0]
    once = _by_group(scored, evidence.groups)
    if len(once) < 4 * _LEAST:
        return
    rows, p = scored.rows[once], scored.probabilities[once]
    y = table.y[rows]
    loss = -np.log(np.maximum(p[np.arange(len(y)), y], np.exp(-_WORST)))
    cluster, distance = find_clusters(table.X, rows)
    wrong = p.argmax(axis=1) != y
    for k in weak_clusters(loss, cluster):
        own = cluster == k
        here, rest = wrong[own].mean(), wrong[~own].mean()
        members = np.flatnonzero(own)[np.argsort(distance[own], kind="stable")]
        yield WEAK_SLICE.finding(
            "warning",
            f"{own.sum()} similar images are harder than the rest: {here:.1%} of them are taken "
            f"for another class, and {rest:.1%} of the rest.",
            "See what they have in common: add images like them, or correct their labels.",
            value=float(here),
            images=tuple(
                Flagged(
                    table.paths[rows[m]], table.class_names[y[m]], score=round(float(loss[m]), 4)
                )
                for m in members
            ),
        )


WEAK_SLICE = Kind(
    "TLX403", "weak-slice", "similar images that are wrong more often", _find, needs_run=True
)
KINDS = (WEAK_SLICE,)
