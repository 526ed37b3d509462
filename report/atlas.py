"""The section with the map of the embeddings: which images are points, and their colours."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ..classify.findings.finding import Finding
from ..classify.table import Features
from .album import Album
from .charts import COLOURS, Svg, scatter
from .embedding_map import choose_points, lay_out
from .judged import Judged


@dataclass(frozen=True)
class Atlas:
    """The map of the embeddings.

    Attributes
    ----------
    dots : Svg
    points, images : int
        How many of how many images are on it.
    classes, slices : list of (str, str)
        Name in the style sheet and for people, of each colour.
    judged : bool
        Whether there are mistakes to be seen.
    """

    dots: Svg
    points: int
    images: int
    classes: list[tuple[str, str]]
    slices: list[tuple[str, str]]
    judged: bool


class Points:
    """The images that are on the map: chosen before their places are known.

    Parameters
    ----------
    table : Features
    findings : sequence of Finding
    judged : Judged or None
    album : Album
        Which they are added to.
    seed : int
    """

    def __init__(
        self,
        table: Features,
        findings: Sequence[Finding],
        judged: Judged | None,
        album: Album,
        seed: int,
    ) -> None:
        self._table, self._judged, self._seed = table, judged, seed
        place = {path: row for row, path in enumerate(table.paths)}
        mistakes = [judged.scored.path[row] for row in judged.wrong] if judged else []
        flagged = [one.path for finding in findings for one in finding.images]
        rows = [place[path] for path in (*flagged, *mistakes) if path in place]
        self.rows = choose_points(len(table), np.array(rows, np.int64), seed)
        self._wrong = set(mistakes)
        self._scored = set(judged.scored.path) if judged else set()
        slices = [finding for finding in findings if finding.name == "weak-slice"][:COLOURS]
        self._slices = [(f"s{k}", finding.title) for k, finding in enumerate(slices)]
        self._slice_of = {
            one.path: f"s{k}" for k, finding in enumerate(slices) for one in finding.images
        }
        self._numbers = [album.add(table.paths[row]) for row in self.rows]

    def draw(self) -> Atlas:
        """Return the map; this takes seconds."""
        table = self._table
        colours, classes = self._colours()
        names = []
        for row in self.rows:
            path = table.paths[row]
            how = "wrong" if path in self._wrong else "right" if path in self._scored else "unseen"
            words = [colours[table.y[row]], how, self._slice_of.get(path, "")]
            names.append(" ".join(filter(None, words)))
        order = np.argsort(["wrong" in name for name in names], kind="stable")  # they lie on top
        places = lay_out(table.X[self.rows], self._seed)
        dots = scatter(places[order], [names[k] for k in order], [self._numbers[k] for k in order])
        judged = self._judged is not None
        return Atlas(dots, len(self.rows), len(table), classes, self._slices, judged)

    def _colours(self) -> tuple[list[str], list[tuple[str, str]]]:
        """Return the colour of each class; of many those with the most mistakes have one."""
        names = self._table.class_names
        if len(names) <= COLOURS:
            own = [f"c{c}" for c in range(len(names))]
            return own, list(zip(own, names, strict=True))
        missed = dict.fromkeys(names, 0)
        if self._judged:
            for row in self._judged.wrong:
                name = self._judged.run.class_names[self._judged.scored.label[row]]
                missed[name] = missed.get(name, 0) + 1
        hardest = sorted(names, key=lambda name: -missed[name])[: COLOURS - 1]
        colour = {name: f"c{k}" for k, name in enumerate(hardest)}
        legend = [(colour[name], name) for name in hardest]
        legend.append(("other", f"{len(names) - len(hardest)} other classes"))
        return [colour.get(name, "other") for name in names], legend
