"""How a public function answers to an argument that it does not have."""

from __future__ import annotations

import difflib
import functools
import inspect
from collections.abc import Callable
from typing import ParamSpec, TypeVar

from .errors import ArgumentError

P = ParamSpec("P")
R = TypeVar("R")


def says_nearest_argument(function: Callable[P, R]) -> Callable[P, R]:
    """Let a call with an unknown keyword name the function and its nearest argument.

    Python's own error names the function alone, and with options in pairs such as ``dataset`` and
    ``features`` a slip is easily made. A function that passes options on, as `fit_head` does to the
    head, refuses only those that are nearly an argument of its own.

    Examples
    --------
    >>> @says_nearest_argument
    ... def add(first, second):
    ...     return first + second
    >>> add(first=1, secund=2)
    Traceback (most recent call last):
    tlx.errors.ArgumentError: add() has no argument 'secund'.
    Did you mean second?
    """
    parameters = inspect.signature(function).parameters.values()
    known = [p.name for p in parameters if p.kind is not p.VAR_KEYWORD]
    passes_on = len(known) < len(parameters)

    @functools.wraps(function)
    def checked(*args: P.args, **kwargs: P.kwargs) -> R:
        for name in kwargs:
            if name in known or (passes_on and not difflib.get_close_matches(name, known, 1, 0.85)):
                continue
            raise ArgumentError.nearest_of(function.__name__, name, known)
        return function(*args, **kwargs)

    return checked
