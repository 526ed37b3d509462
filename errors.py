"""Every error that a user can cause, in one tree.

::

    TlxError
    ├── DataError          (ValueError)   a data set that cannot be used as it is
    ├── ImageError         (ValueError)   one image that cannot be decoded
    ├── UnknownNameError   (LookupError)  a backbone, layer, head, run or data set of no such name
    ├── WeightsError       (ValueError)   a weights or model file that is refused
    ├── FormatError        (ValueError)   a tlx file that is damaged, foreign or hostile
    ├── StorageError       (OSError)      the disk or folder refuses: full, read-only, vanished
    ├── FitError           (ValueError)   a head that cannot be fitted on this data
    ├── ArgumentError      (TypeError)    an argument that a function does not have
    └── MissingExtraError  (ImportError)  an optional package that is not installed

Each class is also the builtin it resembles, so ``except ValueError`` keeps working for callers who
do not know tlx.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class TlxError(Exception):
    """One line of cause and one of remedy.

    Parameters
    ----------
    cause : str
        What is wrong, naming the offending value.
    remedy : str, default=""
        What is allowed, or what to type next.
    """

    def __init__(self, cause: str, remedy: str = "") -> None:
        super().__init__(cause, remedy)
        self.cause = cause
        self.remedy = remedy

    def __str__(self) -> str:
        return f"{self.cause}\n{self.remedy}" if self.remedy else self.cause


class DataError(TlxError, ValueError):
    """A data set that cannot be used as it is."""


class ImageError(TlxError, ValueError):
    """One image that cannot be decoded."""


class UnknownNameError(TlxError, LookupError):
    """A name that stands for nothing.

    Use :meth:`nearest` to build one that suggests the closest known names.
    """

    @classmethod
    def nearest(
        cls, kind: str, name: str, known: Iterable[str], remedy: str = ""
    ) -> UnknownNameError:
        """Say that `name` is no `kind`, and which of `known` come closest."""
        names = sorted(known)
        close = difflib.get_close_matches(name, names, n=3, cutoff=0.5) or names[:8]
        hint = f"Did you mean {', '.join(close)}?" if close else f"There is no {kind} yet."
        return cls(f"unknown {kind}: {name!r}.", f"{hint} {remedy}".strip())


class WeightsError(TlxError, ValueError):
    """A weights or model file that is refused."""


class FormatError(TlxError, ValueError):
    """A file of tlx's own kind that is damaged, foreign or hostile."""


class StorageError(TlxError, OSError):
    """The disk or folder refuses: full, read-only, vanished."""


class FitError(TlxError, ValueError):
    """A head that cannot be fitted on this data."""


class ArgumentError(TlxError, TypeError):
    """An argument that a function does not have."""

    @classmethod
    def nearest_of(cls, function: str, name: str, known: Iterable[str]) -> ArgumentError:
        """Say that `function` has no argument `name`, and which of `known` come closest."""
        names = list(known)
        close = difflib.get_close_matches(name, names, n=2, cutoff=0.6)
        hint = f"Did you mean {' or '.join(close)}?" if close else f"It has: {', '.join(names)}."
        return cls(f"{function}() has no argument {name!r}.", hint)


class MissingExtraError(TlxError, ImportError):
    """An optional package that is not installed."""

    @classmethod
    def of(cls, package: str, extra: str) -> MissingExtraError:
        """Name the missing package and the exact command that installs it."""
        return cls(f"{package} is not installed.", f"Run: pip install 'tlx-vision[{extra}]'")
