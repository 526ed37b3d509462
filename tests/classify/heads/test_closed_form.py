"""What heads with a solution in closed form share."""

from __future__ import annotations

import numpy as np

from tlx.heads import LDAHead, RidgeHead


def test_wide_and_tall_ways_agree(draw):
    """Just more and just fewer rows than features take different routes."""
    X, y = draw(41, 2, 40)
    for head in (RidgeHead(10.0), LDAHead(0.2)):
        tall = head.fit(X, y).predict_proba(X)
        padded = np.concatenate([X, np.zeros((41, 5), np.float32)], axis=1)
        if isinstance(head, RidgeHead):  # LDA spreads the trace over all features
            np.testing.assert_allclose(head.fit(padded, y).predict_proba(padded), tall, atol=1e-4)
