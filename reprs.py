"""What objects show of themselves in a console or notebook: one short line, one small table."""

from __future__ import annotations

import html
import itertools
import os
from collections.abc import Collection, Iterable, Sequence
from typing import Any

ROWS = 30  # a notebook shows no more of a table
WIDTH = 60  # characters of one name


def shortened(text: object, width: int = WIDTH) -> str:
    """Return `text` in one line, its middle left out where it is longer than `width`.

    Examples
    --------
    >>> shortened("photos/holiday/2024/rome/IMG_0001.jpg", 21)
    'photos/hol…G_0001.jpg'
    """
    line = " ".join(str(text).split())
    if len(line) <= width:
        return line
    half = width // 2
    return f"{line[:half]}…{line[len(line) - (width - half - 1) :]}"


def readable(path: str) -> str:
    r"""Return a path as text that any program can read: each byte that is no UTF-8 is escaped.

    Examples
    --------
    >>> readable("caf\udce9.jpg")
    'caf\\xe9.jpg'
    """
    return os.fsencode(path).decode("utf-8", "backslashreplace")


def listed(names: Collection[object], most: int = 4) -> str:
    """Return some names with commas, and how many more there are.

    Examples
    --------
    >>> listed(["ants", "bees", "cats", "dogs", "eels", "foxes"])
    'ants, bees, cats, dogs and 2 more'
    """
    shown = ", ".join(shortened(name) for name in itertools.islice(names, most))
    more = len(names) - most
    return f"{shown} and {more} more" if more > 0 else shown


def html_table(caption: str, header: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    """Return a table for a notebook; everything in it is escaped, for names may be hostile.

    Parameters
    ----------
    caption : str
        What it is, in a line.
    header : sequence of str
        Names of the columns.
    rows : iterable of sequences
        The first `ROWS` are shown, and how many there are besides.
    """
    rows = list(rows)
    lines = [f"<table><caption>{_escaped(caption, 400)}</caption>"]
    lines.append(f"<thead>{_row('th', header)}</thead><tbody>")
    lines += [_row("td", row) for row in rows[:ROWS]]
    if len(rows) > ROWS:
        more = f"and {len(rows) - ROWS:,} more"
        lines.append(f'<tr><td colspan="{len(header)}">{more}</td></tr>')
    return "\n".join([*lines, "</tbody></table>"])


def _row(cell: str, values: Sequence[Any]) -> str:
    cells = "".join(f"<{cell}>{_escaped(value)}</{cell}>" for value in values)
    return f"<tr>{cells}</tr>"


def _escaped(value: Any, width: int = WIDTH) -> str:
    return html.escape(shortened("" if value is None else value, width))
