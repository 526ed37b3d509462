"""The contract of a head: one object that says all that the rest of tlx needs to know of it.

A file of this folder that has a `HEAD` is a head; `tlx.classify.heads.registry` finds it there, and
the command line, ``--model all``, the seeds of fine-tuning, the estimators of `tlx.heads`, the
conformance tests and the table in the docs follow. N images, D features, C classes throughout.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal, Protocol

import numpy as np

from ...errors import FitError
from ...progress import Progress, silent
from .. import large

Layers = tuple[tuple[np.ndarray, np.ndarray], ...]  # weights (inputs, units) and bias (units,)


class Predictor(Protocol):
    """A fitted head, free of what fitted it."""

    @property
    def n_features(self) -> int:
        """D."""
        ...

    @property
    def n_classes(self) -> int:
        """C."""
        ...

    def predict_proba(self, X: np.ndarray) -> np.ndarray:
        """Return probabilities, shape (N, C) float64."""
        ...

    def parts(self) -> dict[str, bytes]:
        """Return the files that a run keeps of it, by name: ``head.h5`` at least."""
        ...


def describe(predictor: Predictor) -> str:
    """Return what a predictor is in a few words: its ``repr``."""
    C, D = predictor.n_classes, predictor.n_features
    return f"{type(predictor).__name__}({D:,} features, {C} classes)"


class SavedPredictor(Predictor, Protocol):
    """A predictor whose arrays are the run's ``head.h5``: see `tlx.classify.heads.predictors`."""

    kind: ClassVar[str]  # noted in the file, so that it is known how to read it

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, np.ndarray]) -> SavedPredictor:
        """Return the predictor that has these arrays.

        Raises
        ------
        KeyError, ValueError
            If one is missing, or they do not fit together.
        """
        ...


@dataclass(frozen=True)
class Problems:
    """Many weightings of the same rows, fitted side by side; a problem is a weighting.

    Attributes
    ----------
    X : ndarray of shape (N, D)
        All finite.
    y : ndarray of shape (N,), int
        Classes 0 to C - 1.
    weights : ndarray of shape (F, N), float64
        A row a problem, zero for rows held out. Each has two classes or more.
    groups : ndarray of shape (N,), int
        Where a head holds out some of its rows (to stop early, to scale its probabilities), groups
        stay whole.
    seed : int
        Of those rows held out, and of all else that is random.
    progress : Progress
        Told by heads that work long before the first point of the grid.
    """

    X: np.ndarray
    y: np.ndarray
    weights: np.ndarray
    groups: np.ndarray
    seed: int = 0
    progress: Progress = silent

    @property
    def n_classes(self) -> int:
        """C, whether or not a problem has seen them all."""
        return int(self.y.max()) + 1


def predict_rows(predictor: Predictor, X: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Return the probabilities (m, C) of rows of X; of many, block by block."""
    if 4 * len(rows) * X.shape[1] <= large.MEMORY:
        return predictor.predict_proba(X[rows])
    blocks = large.blocks_of(len(rows), X.shape[1])
    return np.concatenate([predictor.predict_proba(X[rows[block]]) for block in blocks])


class GridPoint(Protocol):
    """All problems, fitted with one point of the grid."""

    @property
    def params(self) -> dict[str, Any]:
        """The point."""
        ...

    def proba(self, problem: int, rows: np.ndarray) -> np.ndarray:
        """Return the probabilities that problem `problem` gives `rows`, shape (len(rows), C)."""
        ...

    def head(self, problem: int) -> Predictor:
        """Return the fitted head of problem `problem`."""
        ...


@dataclass(frozen=True)
class PredictorPoint:
    """A grid point whose problems each have a predictor of their own.

    Attributes
    ----------
    params : dict
    X : ndarray of shape (N, D)
    heads : sequence of F predictors
    """

    params: dict[str, Any]
    X: np.ndarray
    heads: Sequence[Predictor]

    def proba(self, problem: int, rows: np.ndarray) -> np.ndarray:
        """Return the probabilities that problem `problem` gives `rows`, shape (len(rows), C)."""
        return predict_rows(self.heads[problem], self.X, rows)

    def head(self, problem: int) -> Predictor:
        """Return the fitted head of problem `problem`."""
        return self.heads[problem]


def _anything(value: Any) -> bool:
    return True


@dataclass(frozen=True)
class Option:
    """Something that a head can be given.

    Attributes
    ----------
    name : str
        As in Python; the command line has it with two hyphens before it.
    help : str
        What it is, without a full stop.
    type : type
        ``float``, ``int``, ``str``, or ``tuple`` for a list of whole numbers.
    default : object
        Of an option that is searched: what the estimator of `tlx.heads` takes.
    grid : tuple of float
        Candidates, the strongest regularisation first; empty if it is not searched.
    choices : tuple of str
        The only values of a text.
    fits : callable
        Whether a value makes sense.
    allowed : str
        Which do, for the message: "more than 0, such as 1.0".
    """

    name: str
    help: str
    type: type
    default: Any
    grid: tuple[float, ...] = ()
    choices: tuple[str, ...] = ()
    fits: Callable[[Any], bool] = _anything
    allowed: str = ""

    def check(self, model: str, value: Any) -> None:
        """Refuse a value that makes no sense.

        Raises
        ------
        FitError
        """
        if self.choices:
            if value is not None and value not in self.choices:
                raise FitError(
                    f"unknown {self.name.replace('_', ' ')}: {value!r}.",
                    f"Use {' or '.join(self.choices)}.",
                )
        elif not self.fits(value):
            raise FitError(f"{model} cannot have {self.name} = {value}.", f"Use {self.allowed}.")


CLASS_WEIGHT = Option(
    "class_weight",
    "Give every class the same weight, however many images it has",
    str,
    None,
    choices=("balanced",),
)


def strength(name: str, help: str, default: float, grid: Sequence[float] | np.ndarray) -> Option:
    """Return an option that is searched and has to be positive."""
    return Option(
        name,
        help,
        float,
        default,
        grid=tuple(map(float, grid)),
        fits=lambda value: 0 < value < np.inf,
        allowed="more than 0, such as 1.0",
    )


@dataclass(frozen=True)
class Head:
    """A kind of classifier over embeddings.

    Attributes
    ----------
    name : str
        As in ``--model``.
    help : str
        What it is, in a few words.
    estimator : str
        Name of its scikit-learn estimator in `tlx.heads`.
    notes : str
        What its estimator's page says beside: of which method it is.
    fit : callable
        ``fit(problems, grid, **options)`` yields a `GridPoint` for each point of the grid, the
        strongest regularisation first. `grid` has candidates by name; `options` are complete.
    predictors : tuple of SavedPredictor types
        All that the fit can end in: how a saved one is read back.
    members : tuple of Head
        Linear heads whose logits it averages. Evaluation chooses the parameters of each by itself.
    options : tuple of Option
        Those with a grid are searched.
    random : bool
        Whether chance plays a part, so that a seed makes a difference.
    seeds : bool
        Whether its predictors have ``dense_layers()``, and so can begin a fine-tuning.
    learns_prior : bool
        Whether it learns how frequent the classes are; if not, it takes all for equally so.
    many : {"sums", "passes", "sample"}
        How it learns from more rows than fit into memory (`tlx.classify.large`): from sums over
        them, in passes over them with parameters chosen on a sample, or from a sample alone.
    cost : float
        About how long it takes beside the others: the time left for several is told by it.
    """

    name: str
    help: str
    estimator: str
    notes: str
    fit: Callable[..., Iterator[GridPoint]]
    predictors: tuple[type[Any], ...]
    options: tuple[Option, ...] = field(default=())
    members: tuple[Head, ...] = ()
    random: bool = False
    seeds: bool = False
    learns_prior: bool = True
    many: Literal["sums", "passes", "sample"] = "sample"
    cost: float = 10.0

    @property
    def grid(self) -> dict[str, list[float]]:
        """The candidates by the name of what is searched; empty if nothing is."""
        return {option.name: list(option.grid) for option in self.options if option.grid}

    def takes(self, name: str) -> bool:
        """Return whether there is an option of that name."""
        return any(option.name == name for option in self.options)
