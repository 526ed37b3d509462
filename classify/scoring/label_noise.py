"""How probable it is that a label is wrong, from what a classifier says that has not seen it.

Northcutt, Jiang and Chuang [1]_ count where confident predictions and labels disagree. Here the
same is a model whose few numbers are those under which the labels that were given are most likely.
An image of true class j is labelled j with probability 1 - e_j, and as any other class else; its
true class is j with p_j = softmax(a f + b)_j, f the values of a classifier that learned from other
images. A classifier that learned from wrong labels, and is too little or too much sure because of
them, is thereby put right as well: a and b are fitted together with the noise. By Bayes' rule an
image labelled k is of class j with a probability proportional to p_j (1 - e_k) for j = k and to
p_j e_j / (C - 1) otherwise.

References
----------
.. [1] C. Northcutt, L. Jiang, I. Chuang (2021), Confident learning: estimating uncertainty in
   dataset labels, Journal of Artificial Intelligence Research 70.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..heads.linear import row_blocks, softmax

_MOST_WRONG = 0.5  # of a class; beyond it names of classes could as well be exchanged
_FITTED = 20_000  # rows from which the model is fitted, drawn at random where there are more
# Weak normal priors, for classes of few images: on the log odds of e_j / _MOST_WRONG around their
# mean, on that mean, and on the biases b.
_SPREAD, _MEAN, _MEAN_SPREAD, _BIAS_SPREAD = 1.0, -4.0, 3.0, 2.0


@dataclass(frozen=True)
class LabelNoise:
    """How often labels are wrong, and what a classifier's values are worth. C classes.

    Attributes
    ----------
    rate : ndarray of shape (C,)
        Of the images of each class, the share that is labelled otherwise.
    scale : float
    bias : ndarray of shape (C,)
    """

    rate: np.ndarray
    scale: float
    bias: np.ndarray

    def true_classes(self, values: np.ndarray, y: np.ndarray) -> np.ndarray:
        """Return how probable each class is to be the true one, given the label as well.

        Parameters
        ----------
        values : ndarray of shape (N, C)
            Of a classifier that has not seen the image, such as log probabilities.
        y : ndarray of shape (N,), int
            Labels.

        Returns
        -------
        ndarray of shape (N, C), float32
        """
        out = np.empty(values.shape, np.float32)
        for rows in row_blocks(values):
            out[rows] = self._joint(values[rows], y[rows])[1]
        return out

    def _joint(self, values: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, ...]:
        """Return p (N, C), the true classes (N, C), and how likely each label was (N,)."""
        rows = np.arange(len(y))
        p = softmax(self.scale * values + self.bias)
        joint = p * (self.rate / (len(self.rate) - 1))
        joint[rows, y] = p[rows, y] * (1 - self.rate[y])
        likely = np.maximum(joint.sum(axis=1), 1e-300)
        return p, joint / likely[:, None], likely


def fit_label_noise(values: np.ndarray, y: np.ndarray, seed: int = 0) -> LabelNoise:
    """Estimate how often the labels are wrong, by maximum likelihood.

    Parameters
    ----------
    values : ndarray of shape (N, C)
        Of a classifier that has not seen the image, such as log probabilities.
    y : ndarray of shape (N,), int
        Labels, of at least two classes.
    seed : int, default=0
        Of the choice of 20,000 rows where there are more.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> true = rng.integers(2, size=5000)
    >>> values = np.eye(2)[true] + rng.normal(0, 0.2, (5000, 2))
    >>> y = np.where(rng.random(5000) < 0.1, 1 - true, true)
    >>> fit_label_noise(values, y).rate.round(1).tolist()
    [0.1, 0.1]
    """
    from scipy.optimize import minimize

    if len(y) > _FITTED:
        drawn = np.random.default_rng(seed).choice(len(y), _FITTED, replace=False)
        values, y = values[drawn], y[drawn]
    values = values.astype(np.float64)
    N, C = values.shape
    rows = np.arange(N)

    # theta: log a, b (C,), the mean of the log odds, those odds (C,).
    def model(theta: np.ndarray) -> LabelNoise:
        rate = _MOST_WRONG / (1 + np.exp(-theta[C + 2 :]))
        return LabelNoise(rate, float(np.exp(theta[0])), theta[1 : C + 1])

    def loss(theta: np.ndarray) -> tuple[float, np.ndarray]:
        noise = model(theta)
        p, true, likely = noise._joint(values, y)
        pull = p - true  # the derivative by a f + b
        own = np.bincount(y, true[rows, y], C)
        by_rate = (true.sum(axis=0) - own) / noise.rate - own / (1 - noise.rate)
        by_odds = by_rate * noise.rate * (1 - noise.rate / _MOST_WRONG)
        off, shift = theta[C + 2 :] - theta[C + 1], theta[C + 1] - _MEAN
        priors = (
            (noise.bias**2).sum() / _BIAS_SPREAD**2
            + (off**2).sum() / _SPREAD**2
            + shift**2 / _MEAN_SPREAD**2
        )
        gradient = np.concatenate(
            [
                [noise.scale * (pull * values).sum()],
                pull.sum(axis=0) + noise.bias / _BIAS_SPREAD**2,
                [shift / _MEAN_SPREAD**2 - off.sum() / _SPREAD**2],
                off / _SPREAD**2 - by_odds,
            ]
        )
        return float(priors / 2 - np.log(likely).sum()), gradient

    # From few wrong labels and from many: there may be two minima.
    first = np.log(2 / max(float(values.std()), 1e-6))
    starts = [np.concatenate([[first], np.zeros(C), np.full(C + 1, m)]) for m in (_MEAN, -1.5)]
    found = [
        minimize(loss, start, jac=True, method="L-BFGS-B", options={"maxiter": 200})
        for start in starts
    ]
    return model(min(found, key=lambda one: one.fun).x)
