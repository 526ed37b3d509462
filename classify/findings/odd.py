"""Odd images: dark, bright, pale, blurred, long, tiny, of one colour, or grey among coloured.

What is odd depends on the data set: all pictures of a microscope may be dark, and all digits tiny.
So an image is odd if it lies far out on one side of its data set *and* beyond a limit. Far out is
so many standard deviations from the median, taken from the quartile of that side as they are where
values are normal: an odd one in ten images moves that little.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

import numpy as np

from ...cache.manifest import Manifest
from .evidence import Evidence
from .finding import Finding, Flagged, Kind, images_are

_QUARTILE = 0.6745  # of a normal distribution, in standard deviations from its median
_ZERO = 1e-3  # is added before a logarithm


@dataclass(frozen=True, eq=False)
class Rule:
    """What makes an image odd. N images.

    Attributes
    ----------
    code, name, help, severity, advice : str
        Of the findings.
    says : str
        What such images are, in words.
    what : str
        What the number of an image is, in words.
    measure : callable
        Returns that number for each image of a manifest, shape (N,).
    limit : float
        An image on the inner side of it is not odd, whatever the others are like.
    least : float
        The standard deviation is taken to be at least this, so that where all images are alike a
        hair's breadth is nothing.
    above : bool
        Whether large numbers are odd, or small ones.
    log : bool
        Whether numbers are compared by their ratios; `least` is then that of their logarithm.
    spreads : float
        So many standard deviations from the median are far out.
    unless : tuple of Rule
        What these find is left to them.
    """

    code: str
    name: str
    says: str
    help: str
    severity: str
    what: str
    advice: str
    measure: Callable[[Manifest], np.ndarray]
    limit: float
    least: float
    above: bool = False
    log: bool = False
    spreads: float = 3.0
    unless: tuple[Rule, ...] = ()

    def odd(self, manifest: Manifest) -> tuple[np.ndarray, float, float]:
        """Return the rows of odd images, the oddest first; where they begin, and the median."""
        values = self.measure(manifest)
        rows = np.flatnonzero(manifest.usable & manifest.measured)
        if not len(rows):
            return rows, self.limit, self.limit
        oddness = self._scale(values[rows])
        middle, quartile = np.quantile(oddness, (0.5, 0.75))
        spread = max((quartile - middle) / _QUARTILE, self.least)
        start = max(middle + self.spreads * spread, float(self._scale(np.array(self.limit))))
        others = [other.odd(manifest)[0] for other in self.unless]
        order = np.argsort(-oddness, kind="stable")
        found = rows[order[oddness[order] >= start]]
        found = found[~np.isin(found, np.concatenate([rows[:0], *others]))]
        return found, self._number(start), self._number(middle)

    def _scale(self, values: np.ndarray) -> np.ndarray:
        scaled = (
            np.log(np.asarray(values, float) + _ZERO) if self.log else np.asarray(values, float)
        )
        return scaled if self.above else -scaled

    def _number(self, oddness: float) -> float:
        scaled = oddness if self.above else -oddness
        return float(max(np.exp(scaled) - _ZERO, 0)) if self.log else float(scaled)


def _measured(name: str, manifest: Manifest) -> np.ndarray:
    return manifest.pictures[name].astype(float)


def _relative_contrast(manifest: Manifest) -> np.ndarray:
    """Return the contrast relative to the light parts: a dark picture is not pale by that."""
    return _measured("contrast", manifest) / np.maximum(_measured("highlights", manifest), _ZERO)


def _shorter_side(manifest: Manifest) -> np.ndarray:
    return np.minimum(manifest.width, manifest.height).astype(float)


def _stretch(manifest: Manifest) -> np.ndarray:
    """Return how many times more, or less, elongated an image is than is usual here."""
    width, height = (np.maximum(side, 1) for side in (manifest.width, manifest.height))
    elongation = np.abs(np.log(width / height))
    return np.exp(np.abs(elongation - np.median(elongation[manifest.usable])))


UNIFORM = Rule(
    code="TLX307",
    name="uniform",
    says="of nearly one colour",
    help="pictures that are nearly of one colour",
    severity="warning",
    what="share of nearly one grey level",
    advice="Look at them: leave out what shows nothing.",
    measure=partial(_measured, "uniformity"),
    limit=0.9,
    least=0.05,
    above=True,
)
LOW_CONTRAST = Rule(
    code="TLX303",
    name="low-contrast",
    says="pale",
    help="pale pictures, as through fog",
    severity="note",
    what="contrast relative to the light parts",
    advice="Look at them: leave out what cannot be recognised.",
    measure=_relative_contrast,
    limit=0.13,
    least=0.1,
    log=True,
    unless=(UNIFORM,),
)
DARK = Rule(
    code="TLX301",
    name="dark",
    says="dark",
    help="pictures of which even the light parts are dark",
    severity="warning",
    what="level of the light parts",
    advice="Look at them: leave out what cannot be recognised.",
    measure=partial(_measured, "highlights"),
    limit=0.5,
    least=0.05,
    unless=(UNIFORM, LOW_CONTRAST),
)
BRIGHT = Rule(
    code="TLX302",
    name="bright",
    says="bright",
    help="pictures that are much brighter than the others",
    severity="note",
    what="mean level",
    advice="Look at them: leave out what is washed out.",
    measure=partial(_measured, "brightness"),
    limit=0.8,
    least=0.03,
    above=True,
    unless=(UNIFORM,),
)
TINY = Rule(
    code="TLX306",
    name="tiny",
    says="tiny",
    help="pictures of few pixels among larger ones",
    severity="note",
    what="pixels of the shorter side",
    advice="Look for larger versions, or leave them out.",
    measure=_shorter_side,
    limit=100.0,
    least=0.2,
    log=True,
)
BLURRED = Rule(
    code="TLX304",
    name="blurred",
    says="blurred",
    help="pictures without a sharp edge",
    severity="warning",
    what="sharpness of the strongest edges",
    advice="Look at them: leave out what cannot be recognised.",
    measure=partial(_measured, "sharpness"),
    limit=0.36,
    least=0.08,
    log=True,
    spreads=2.3,
    unless=(UNIFORM,),
)
ODD_SHAPE = Rule(
    code="TLX305",
    name="odd-shape",
    says="of odd shape",
    help="pictures far longer, or less long, for their width than the others",
    severity="note",
    what="more, or less, elongated than others by a factor",
    advice="Squashing distorts them most: cut them, or try tlx embed --resize pad.",
    measure=_stretch,
    limit=1.8,
    least=0.05,
    above=True,
    log=True,
)
GREY = Rule(
    code="TLX308",
    name="grey",
    says="grey among coloured ones",
    help="grey pictures among coloured ones",
    severity="note",
    what="colourfulness",
    advice="Good to know if new images are in colour, bad if one class has most of them.",
    measure=partial(_measured, "colourfulness"),
    limit=0.01,
    least=0.1,
    log=True,
    unless=(UNIFORM,),
)
RULES = (DARK, BRIGHT, LOW_CONTRAST, BLURRED, ODD_SHAPE, TINY, UNIFORM, GREY)


def _find(rule: Rule, evidence: Evidence) -> Iterator[Finding]:
    manifest = evidence.manifest
    found, start, usual = rule.odd(manifest)
    rows = [row for row in found if manifest.path[row] not in evidence.kept]
    if not rows:
        return
    values = rule.measure(manifest)
    images = tuple(
        Flagged(
            manifest.path[row],
            manifest.class_names[manifest.label[row]] if manifest.label[row] >= 0 else "",
            score=float(values[row]),
        )
        for row in rows
    )
    n = len(rows)
    side = "above" if rule.above else "below"
    yield _kind(rule).finding(
        rule.severity,
        f"{images_are(n)} {rule.says}: {rule.what} {side} "
        f"{_digits(start)}, usual is {_digits(usual)}.",
        rule.advice,
        value=float(n),
        images=images,
    )


def _digits(number: float) -> str:
    return f"{number:.0f}" if number >= 10 else f"{number:.2g}"


def _kind(rule: Rule) -> Kind:
    return Kind(rule.code, rule.name, rule.help, partial(_find, rule))


KINDS = tuple(map(_kind, RULES))
