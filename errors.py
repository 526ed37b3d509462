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
from collections.abc import Iterable, Sequence


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

    Use :meth:`nearest` to build one that suggests the known names closest by meaning or by letters.
    """

    @classmethod
    def nearest(
        cls, kind: str, name: str, known: Iterable[str], remedy: str = ""
    ) -> UnknownNameError:
        """Say that `name` is no `kind`, and which of `known` come closest.

        Examples
        --------
        >>> UnknownNameError.nearest("split", "val", ["train", "validation", "test"]).remedy
        'Did you mean validation?'
        """
        names = sorted(known)
        close = _closest(str(name), names)
        if close:
            hint = f"Did you mean {_one_of(close)}?"
        elif names:
            hint = f"There is {', '.join(names[:8])}{' and more' if names[8:] else ''}."
        else:
            hint = f"There is no {kind} yet."
        return cls(f"unknown {kind}: {name!r}.", f"{hint} {remedy}".strip())


# What else people call things, in letters and digits only.
_ALSO = {
    "dev": "validation",
    "eval": "validation",
    "holdout": "test",
    "logistic": "logreg",
    "logisticregression": "logreg",
    "lr": "logreg",
    "softmax": "logreg",
    "svc": "svm",
    "linearsvc": "svm",
    "discriminant": "lda",
    "lineardiscriminantanalysis": "lda",
    "kneighbors": "knn",
    "kneighborsclassifier": "knn",
    "nearestneighbours": "knn",
    "nearestneighbors": "knn",
    "ncm": "centroid",
    "nearestcentroid": "centroid",
    "prototype": "centroid",
    "mlp": "dense",
    "neuralnetwork": "dense",
    "nn": "dense",
    "effnet": "efficientnet-lite0",
    "vgg": "vgg16",
    "inception": "inceptionv3",
    "acc": "accuracy",
    "auc": "roc_auc",
    "f1": "macro_f1",
    "loss": "log_loss",
    "crossentropy": "log_loss",
    "nll": "log_loss",
    "tf": "tensorflow",
    "keras": "tensorflow",
    "ov": "openvino",
    "latest": "best",
    "last": "best",
}


def _closest(name: str, names: Sequence[str]) -> list[str]:
    """Return at most three names: other words for it, then its continuations, then look-alikes."""
    wanted = _bare(name)
    if not wanted:
        return []
    by_bare = {_bare(each): each for each in names}
    other = by_bare.get(_bare(_ALSO.get(wanted, "")))
    begun = [n for n in names if _bare(n).startswith(wanted) or wanted.startswith(_bare(n) or "-")]
    within = [n for n in names if len(wanted) > 2 and wanted in _bare(n)]
    alike = difflib.get_close_matches(wanted, by_bare, n=3, cutoff=0.5)
    found = [
        *([other] if other else []),
        *sorted(begun, key=lambda each: (abs(len(each) - len(name)), each)),
        *within,
        *([] if begun else (by_bare[each] for each in alike)),
    ]
    return list(dict.fromkeys(found))[:3]


def _bare(name: str) -> str:
    return "".join(c for c in name.lower() if c.isalnum())


def _one_of(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} or {names[-1]}"


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
