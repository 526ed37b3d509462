"""What a run was scored on and what it said, so that it can be set beside others."""

from __future__ import annotations

import numpy as np

from ..duplicates import are_grouped
from ..sources import name_of
from .run import Run, RunInfo


class Scored:
    """What a run was scored on and what it said, in an order that does not depend on the run.

    Parameters
    ----------
    run : Run

    Attributes
    ----------
    digest : ndarray of shape (M, 4), uint64
    y, fold, group : ndarray of shape (M,), int
    draws : ndarray of shape (R, M, C), float32
        Probabilities; R > 1 for a few-shot run.
    trained_on : set of bytes
    """

    def __init__(self, run: Run) -> None:
        found = run.predictions()
        digest = np.ascontiguousarray(found.digest).view(">u8")
        order = np.lexsort((found.label, *digest.T[::-1]))
        self.run = run
        self.digest = digest[order]
        self.y = found.label[order]
        self.fold = found.fold[order]
        self.group = found.group[order]
        self.draws = found.all_draws[:, order]
        self.trained_on = set(map(bytes, found.trained_on))

    def objection(self, reference: Scored) -> str:
        """Return why the run cannot be compared with the reference, "" if it can."""
        mine, its = self.run.info, reference.run.info
        if self.lacks_draws:
            return f"a tlx of before kept the first of its {_repeats(self.run)} draws only"
        if mine.class_names != its.class_names:
            return f"its classes are {_names(mine)}, not {_names(its)}"
        if not np.array_equal(self.digest, reference.digest):
            images = [{row.tobytes() for row in s.digest} for s in (self, reference)]
            common = len(images[0] & images[1])
            return (
                f"scored on other images: {len(self.digest)} instead of {len(reference.digest)}, "
                f"{common} of them the same"
            )
        relabelled = np.count_nonzero(self.y != reference.y)
        if relabelled:
            return f"{relabelled} images had other labels"
        if not np.array_equal(self.fold, reference.fold):
            if mine.protocol != its.protocol:
                return f"{mine.protocol} instead of {its.protocol}"
            if are_grouped(mine.near_duplicates) != are_grouped(its.near_duplicates):
                own = "" if are_grouped(mine.near_duplicates) else "not "
                return f"other folds (its near-duplicates are {own}grouped)"
            return f"other folds (seed {mine.seed} instead of {its.seed})"
        if self.trained_on != reference.trained_on:
            counts = len(self.trained_on), len(reference.trained_on)
            return "it learned from other images ({} instead of {})".format(*counts)
        if len(self.draws) != len(reference.draws):
            if mine.recipe and mine.recipe.few_shot:
                return f"{len(self.draws)} draws instead of {len(reference.draws)}"
            return f"{mine.protocol} instead of {its.protocol}"
        return ""

    @property
    def lacks_draws(self) -> bool:
        """Whether its metrics are means over draws that its predictions do not hold."""
        return len(self.draws) < _repeats(self.run)

    def is_like(self, other: Scored) -> bool:
        """Return whether it is the same head with the same predictions."""
        return self.recipe == other.recipe and np.array_equal(self.draws, other.draws)

    @property
    def recipe(self) -> str:
        """What tells one head from another, whatever it was fitted on."""
        return recipe_of(self.run)


def recipe_of(run: Run) -> str:
    """Return what tells the head of a run from another, whatever it was fitted on."""
    info = run.info
    own = info.recipe
    fixed = (own.grid, own.fixed) if own else None
    return repr((info.model, name_of(info.sources), info.views, info.tta, fixed))


def _names(info: RunInfo) -> str:
    return ", ".join(info.class_names[:8])


def _repeats(run: Run) -> int:
    """Return over how many draws of few images, or repeats of the folds, its metrics are means."""
    return run.info.recipe.draws if run.info.recipe else 1
