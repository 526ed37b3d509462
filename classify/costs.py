"""What mistakes cost, and the decisions of least expected cost.

N images, C classes.

References
----------
.. [1] C. Elkan (2001), The foundations of cost-sensitive learning, IJCAI.
"""

from __future__ import annotations

import csv
import io
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from ..cache.files import open_binary
from ..errors import DataError, StorageError, UnknownNameError
from .scoring.calibrate import UNKNOWN

_FILE_BYTES = 64 * 2**20  # of a matrix of costs
_LARGEST = 1e12  # cost: so that sums over images stay numbers
_PAIR = re.compile(r"(?P<name>.+?)=(?P<value>[^=,]*)(?:,|$)", re.DOTALL)


@dataclass(frozen=True, eq=False)
class Costs:
    """What each decision costs, by the true class.

    Attributes
    ----------
    matrix : ndarray of shape (C, A)
        Rows are true classes, columns decisions: the C classes in order and, if A is C + 1, to
        call an image ``"unknown"`` and have somebody look.
    """

    matrix: np.ndarray

    def expected(self, probabilities: ArrayLike) -> np.ndarray:
        """Return the expected cost of each decision, shape (N, A) of images (N, C), or (A,)."""
        return np.asarray(probabilities, np.float64) @ self.matrix

    def choose(self, probabilities: np.ndarray) -> np.ndarray:
        """Return the decisions (N,) of least expected cost; C stands for ``"unknown"``.

        Of several such it is the most probable class.
        """
        expected = self.expected(probabilities)
        least = expected.min(axis=1, keepdims=True)
        padded = np.pad(probabilities, ((0, 0), (0, 1)), constant_values=-1)
        padded = padded[:, : expected.shape[1]]
        return np.where(expected <= least * (1 + 1e-12), padded, -2).argmax(axis=1)


def costs_of(
    cost: str | os.PathLike[str] | Mapping[str, float] | ArrayLike,
    class_names: tuple[str, ...],
    positive: str | None = None,
) -> Costs:
    """Return the costs that a user states.

    To be right has to cost less than any mistake, as without that [1]_ a class would be given up.

    Parameters
    ----------
    cost : str, path, mapping or array of shape (C, C) or (C, C + 1)
        Of two classes ``"fp=1,fn=20"``, or the same as a mapping: what it costs to take the other
        class for the positive one, and the positive one for the other. Else a matrix, or the CSV
        file of one: see `read_costs`.
    class_names : tuple of C str
    positive : str, optional
        The class that ``fp`` and ``fn`` are about.

    Raises
    ------
    DataError
        If the costs make no sense: below 0, or a mistake that costs no more than being right.
    UnknownNameError
        If there is no class `positive`.

    Examples
    --------
    >>> costs_of("fp=1,fn=20", ("healthy", "ill"), "ill").matrix.tolist()
    [[0.0, 1.0], [20.0, 0.0]]
    """
    C = len(class_names)
    if isinstance(cost, str) and "=" in cost and not os.path.exists(cost):
        cost = named_numbers(cost, "fp=1,fn=20")
    if isinstance(cost, Mapping):
        matrix = _of_two(cost, class_names, positive)
    elif positive is not None:
        raise DataError(
            "a positive class says what fp and fn are: a matrix has neither.",
            "Leave it out, or use fp=1,fn=20.",
        )
    elif isinstance(cost, str | os.PathLike):
        matrix = read_costs(cost, class_names)
    else:
        try:
            matrix = np.asarray(cost, np.float64)
        except (TypeError, ValueError) as error:
            raise DataError(
                f"costs that are no table of numbers: {error}.", "See `costs_of`."
            ) from error
        if matrix.shape not in ((C, C), (C, C + 1)):
            raise DataError(
                f"costs of shape {matrix.shape} for {C} classes.",
                f"Pass ({C}, {C}): true classes by predicted ones; a column more is for unknown.",
            )
    _check(matrix, class_names)
    return Costs(matrix)


def _of_two(
    given: Mapping[str, float], class_names: tuple[str, ...], positive: str | None
) -> np.ndarray:
    if set(given) != {"fp", "fn"}:
        raise DataError(
            f"costs of mistakes are fp and fn, both of them, not {', '.join(map(str, given))}.",
            "Use fp=1,fn=20, or name the CSV file of a matrix.",
        )
    if len(class_names) != 2:
        raise DataError(
            f"fp and fn are mistakes between two classes, and the run has {len(class_names)}.",
            "Name the CSV file of a matrix: true classes by predicted ones.",
        )
    if positive is None:
        raise DataError(
            "fp and fn need to know which class is the positive one.",
            f"Add --positive {class_names[1]} or --positive {class_names[0]}.",
        )
    if positive not in class_names:
        raise UnknownNameError.nearest("class", positive, class_names)
    p = class_names.index(positive)
    matrix = np.zeros((2, 2))
    matrix[1 - p, p], matrix[p, 1 - p] = given["fp"], given["fn"]
    return matrix


def read_costs(path: str | os.PathLike[str], class_names: tuple[str, ...]) -> np.ndarray:
    """Return the matrix of costs (C, C) in a CSV file, or (C, C + 1) with a column ``unknown``.

    Its first line names the predicted classes, in any order, behind a first cell that may hold
    anything; each further line names a true class and has the costs.

    Raises
    ------
    DataError
        If a class is missing, strange or there twice, or a cell is no number.
    StorageError
        If it cannot be read.
    """
    header, *rows = _csv_rows(path)
    names = [name.strip() for name in header[1:]]
    if len(header) == 1 and len(class_names) > 1:
        raise DataError(f"{path} has one column only.", "Separate the cells by commas.")
    own = UNKNOWN in class_names
    free = [name for name in names if own or name != UNKNOWN]
    _check_names(path, "first line", free, class_names)
    _check_names(path, "first column", [row[0].strip() for row in rows], class_names)
    actions = class_names if len(free) == len(names) else (*class_names, UNKNOWN)
    if len(names) != len(actions):
        raise DataError(f"{path} has the column {UNKNOWN!r} twice.", "Leave one out.")
    matrix = np.zeros((len(class_names), len(actions)))
    for row in rows:
        true = row[0].strip()
        if len(row) != len(header):
            raise DataError(
                f"{path}: the line of {true!r} has {len(row)} cells, the first {len(header)}.",
                "Give each line as many.",
            )
        for name, cell in zip(names, row[1:], strict=True):
            try:
                matrix[class_names.index(true), actions.index(name)] = float(cell)
            except ValueError:
                raise DataError(
                    f"{path}: {cell!r:.80} for {true!r} taken for {name!r} is no number.",
                    "Costs are numbers of 0 or more.",
                ) from None
    return matrix


def _csv_rows(path: str | os.PathLike[str]) -> list[list[str]]:
    try:
        with open_binary(path) as file:
            data = file.read(_FILE_BYTES + 1)
    except OSError as error:
        reason = error.strerror or error
        raise StorageError(
            f"the matrix of costs {str(path)!r:.200} cannot be read: {reason}.",
            "Name a CSV file, or use fp=1,fn=20 for two classes.",
        ) from error
    if len(data or b"") > _FILE_BYTES:
        raise DataError(f"{path} is too large for a matrix of costs.", "Name another file.")
    try:
        text = (data or b"").decode("utf-8-sig")
        rows = [row for row in csv.reader(io.StringIO(text), strict=True) if any(row)]
    except (UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{path} is no CSV file in UTF-8: {error}.", "Save it as one.") from error
    if not rows:
        raise DataError(f"{path} is empty.", "Its first line names the predicted classes.")
    return rows


def _check_names(path: object, where: str, names: list[str], class_names: tuple[str, ...]) -> None:
    for name in names:
        if name not in class_names:
            error = UnknownNameError.nearest("class", name, class_names)
            raise UnknownNameError(f"the {where} of {path} has an {error.cause}", error.remedy)
        if names.count(name) > 1:
            raise DataError(f"the {where} of {path} has {name!r} twice.", "Name it once.")
    missing = [name for name in class_names if name not in names]
    if missing:
        raise DataError(f"the {where} of {path} lacks {missing[0]!r}.", "Name every class.")


def _check(matrix: np.ndarray, class_names: tuple[str, ...]) -> None:
    C = len(class_names)
    actions = (*class_names, UNKNOWN)
    for true, action in np.argwhere(~((matrix >= 0) & (matrix <= _LARGEST))):
        raise DataError(
            f"{class_names[true]!r} taken for {actions[action]!r} cannot cost "
            f"{matrix[true, action]:g}.",
            f"Costs are from 0 to {_LARGEST:g}.",
        )
    right = np.diag(matrix)[:, None]
    for true, action in np.argwhere((matrix[:, :C] <= right) & ~np.eye(C, dtype=bool)):
        raise DataError(
            f"{class_names[true]!r} taken for {class_names[action]!r} costs no more than being "
            f"right: {matrix[true, action]:g}.",
            "Rows are true classes, columns predicted ones; each mistake has to cost something.",
        )


def named_numbers(text: str, example: str) -> dict[str, float]:
    """Return the numbers of ``name=number,name=number``; a name may have commas and ``=``.

    Raises
    ------
    DataError
        If it is something else, or has a name twice.

    Examples
    --------
    >>> named_numbers("cats=0.05,dogs=0.95", "")
    {'cats': 0.05, 'dogs': 0.95}
    """
    found: dict[str, float] = {}
    place = 0
    while place < len(text) or not found:
        pair = _PAIR.match(text, place)
        if pair is None:
            raise DataError(f"{text!r:.200} is no list of name=number.", f"Such as {example}.")
        name, value = pair["name"].strip(), pair["value"].strip()
        try:
            number = float(value)
        except ValueError:
            raise DataError(
                f"{value!r:.80} for {name!r} is no number.", f"Such as {example}."
            ) from None
        if name in found:
            raise DataError(f"{name!r} is named twice.", "Name it once.")
        found[name], place = number, pair.end()
    return found
