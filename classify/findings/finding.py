"""What a kind of finding is, and what it finds: the contract of the files beside this one."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from .evidence import Evidence

SEVERITIES = ("grave", "warning", "note")  # the numbers are wrong; look at it; good to know


@dataclass(frozen=True)
class Flagged:
    """One image of a finding.

    Attributes
    ----------
    path : str
        Relative to the root of the data set.
    label : str
        Its class as it is now, "" if it has none.
    suggested : str or None
        The class that it more likely has.
    score : float or None
        How surely this image belongs to the finding; the finding says what the number is.
    other : str or None
        Path of the image that it is found together with, as of a near-duplicate.
    """

    path: str
    label: str
    suggested: str | None = None
    score: float | None = None
    other: str | None = None


@dataclass(frozen=True)
class Finding:
    """Something that a person should know of a data set.

    Attributes
    ----------
    code, name, severity : str
        Of its kind: ``TLX101``, ``suspect-label``, ``grave``.
    title : str
        What was found, in a sentence with its numbers.
    advice : str
        What to do, in a sentence.
    value : float or None
        The number that says how much or how surely, as `title` explains.
    low, high : float or None
        Its 95% interval where it has one.
    images : tuple of Flagged
        The worst first; empty where a finding is about the data set.
    """

    code: str
    name: str
    severity: str
    title: str
    advice: str
    value: float | None = None
    low: float | None = None
    high: float | None = None
    images: tuple[Flagged, ...] = ()


@dataclass(frozen=True)
class Kind:
    """A kind of finding.

    Attributes
    ----------
    code : str
        ``TLX`` and three digits, the same for ever.
    name : str
        In words joined by hyphens, the same for ever.
    help : str
        What it looks for, in a phrase.
    find : callable
        Returns the findings of this kind in what there is; none where it lacks what it needs.
    needs_run : bool
        Whether it looks at predictions: without a run there is nothing to be found.
    needs_labels : bool
        Whether it says nothing of a data set without labels.
    """

    code: str
    name: str
    help: str
    find: Callable[[Evidence], Iterable[Finding]]
    needs_run: bool = False
    needs_labels: bool = False

    def finding(self, severity: str, title: str, advice: str, **more: object) -> Finding:
        """Return a finding of this kind; `more` are further fields of `Finding`."""
        return Finding(self.code, self.name, severity, title, advice, **more)  # type: ignore[arg-type]


def images_are(n: int) -> str:
    """Return how a title begins that tells of `n` images.

    Examples
    --------
    >>> images_are(1), images_are(1200)
    ('1 image is', '1,200 images are')
    """
    return f"{n:,} image is" if n == 1 else f"{n:,} images are"
