"""Text for people: tables, figures with their intervals, and names."""

from __future__ import annotations

import os
import re
import shutil
import sys
import textwrap
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from .common import painted

if TYPE_CHECKING:
    from ..classify.runs.run import RunInfo
    from ..classify.scoring.classes import ClassReport
    from ..classify.scoring.metrics import Metric

METRIC_NAMES = {
    "accuracy": "accuracy",
    "balanced_accuracy": "balanced accuracy",
    "macro_f1": "macro F1",
    "log_loss": "log loss",
    "roc_auc": "ROC AUC",
    "ece_raw": "calibration error before",
    "ece": "calibration error",
}


def table(
    header: Sequence[str],
    rows: Sequence[Sequence[object]],
    *,
    optional: Sequence[str] = (),
    best: int | None = None,
    width: int | None = None,
) -> str:
    """Return rows under a header: text to the left, numbers to the right.

    What does not print, such as a line end or a terminal's escape code in a file name, is escaped.
    On a terminal the table fits it: optional columns go first, then long texts are shortened in the
    middle, figures never.

    Parameters
    ----------
    header : sequence of str
    rows : sequence of sequences
    optional : sequence of str, default=()
        Columns that may be left out, the first one first.
    best : int, optional
        The row that is green on a terminal.
    width : int, optional
        Columns of the terminal; by default those of standard output, and without bound where it is
        none.

    Examples
    --------
    >>> print(table(["class", "images"], [["cats", 700], ["dogs", 699]]))
    class  images
    cats      700
    dogs      699
    >>> print(table(["path", "n"], [["photos/summer/2024/IMG_0042.jpg", 7]], width=29))
    path                        n
    photos/summer…IMG_0042.jpg  7
    """
    room = screen_width() if width is None else width
    cells = [[_printable(str(cell)) for cell in row] for row in [header, *rows]]
    numeric = [
        bool(rows) and all(isinstance(row[i], (int, float)) for row in rows)
        for i in range(len(header))
    ]
    for name in optional:
        if room and _table_width(cells) > room:
            drop = header.index(name)
            header = [*header[:drop], *header[drop + 1 :]]
            numeric.pop(drop)
            for row in cells:
                row.pop(drop)
    widths = _widths(cells, room)
    lines = []
    for row in cells:
        padded = []
        for cell, wide, right in zip(row, widths, numeric, strict=True):
            short = shortened(cell, wide)
            gap = " " * (wide - text_width(short))
            padded.append(gap + short if right else short + gap)
        lines.append("  ".join(padded).rstrip())
    if best is not None:
        lines[1 + best] = painted(lines[1 + best], "green", sys.stdout)
    return "\n".join(lines)


_LEAST = 12  # columns to which a text may be shortened
_FIGURES = re.compile(r"[-+−]?[\d.,%<±e()\s/+−-]*(to)?[\d.,%±()\s+−-]*(s|kB|MB|GB|B)?")


def _table_width(cells: Sequence[Sequence[str]]) -> int:
    columns = list(zip(*cells, strict=True))
    return sum(max(map(text_width, column)) for column in columns) + 2 * (len(columns) - 1)


def _widths(cells: Sequence[Sequence[str]], room: int) -> list[int]:
    """Return the width of each column; the widest texts give way until all fits into `room`."""
    columns = list(zip(*cells, strict=True))
    widths = [max(map(text_width, column)) for column in columns]
    least = []
    for (title, *column), wide in zip(columns, widths, strict=True):
        figures = all(_FIGURES.fullmatch(cell) for cell in column)
        kept = max(map(text_width, column), default=0) if figures else 0
        least.append(max(kept, min(_LEAST, wide), min(_LEAST, text_width(title))))
    excess = sum(widths) + 2 * (len(widths) - 1) - room
    while room and excess > 0:
        able = [i for i in range(len(widths)) if widths[i] > least[i]]
        if not able:
            break
        widths[max(able, key=widths.__getitem__)] -= 1
        excess -= 1
    return widths


def shortened(text: str, width: int) -> str:
    """Return `text` in at most `width` columns; what is too long loses its middle.

    Examples
    --------
    >>> shortened("photos/summer/IMG_0042.jpg", 17)
    'photos/s…0042.jpg'
    """
    if text_width(text) <= width:
        return text
    half = (width - 1) // 2
    left, right = _first_columns(text, width - 1 - half), _first_columns(text[::-1], half)[::-1]
    return f"{left}…{right}"


def _first_columns(text: str, width: int) -> str:
    """Return the longest beginning of `text` that takes at most `width` columns."""
    end = min(width, len(text))
    while text_width(text[:end]) > width:
        end -= 1
    return text[:end]


def screen_width() -> int:
    """Return the columns of the terminal; 0 if standard output is none, and so has no bound."""
    if sys.stdout is None or not sys.stdout.isatty():
        return 0
    return shutil.get_terminal_size().columns


def metric_rows(metrics: Mapping[str, Metric]) -> list[list[str]]:
    """Return (name, value, interval) of each metric."""
    return [
        [METRIC_NAMES.get(name, name), f"{m.value:.4f}", f"{m.low:.4f} to {m.high:.4f}"]
        for name, m in metrics.items()
    ]


def near_lines(info: RunInfo) -> list[str]:
    """Return how many near-duplicates flatter a run, and what to do; no line if none does."""
    told = info.near_duplicates
    if told is None:  # of an older tlx, or of many images
        return ["Near-duplicates were not looked for, so the score may flatter: see tlx audit."]
    if not told.across:
        return []
    n, split = told.across, "validation split" in info.protocol
    images = f"{'validation ' if split else ''}image{'s' * (n != 1)}"
    others = "training images" if split else "images of other folds"
    text = (
        f"{n:,} {images} {'is a near-duplicate' if n == 1 else 'are near-duplicates'} of {others}: "
        "the score flatters. tlx audit shows them; --near-duplicates group keeps them on one side."
    )
    return textwrap.wrap(text, 80, break_on_hyphens=False)


def class_table(reports: Sequence[ClassReport]) -> str:
    """Return recall, precision and F1 of each class; of more than 20 the 10 with the least F1."""
    worst = sorted(reports, key=lambda r: r.f1.value if r.f1 else 2)
    shown = reports if len(reports) <= 20 else worst[:10]
    text = table(
        ["class", "images", "recall", "precision", "F1"],
        [[r.name, r.n, *map(_figure, (r.recall, r.precision, r.f1))] for r in shown],
    )
    if len(shown) < len(reports):
        of = f"{len(shown)} of {len(reports)} classes"
        text += f"\n… the {of} with the least F1; --json lists them all"
    return text


def _figure(metric: Metric | None) -> str:
    if metric is None:
        return "-"
    return f"{metric.value:.3f} ({metric.low:.2f}-{metric.high:.2f})"


def choice_text(
    name: str, metric: str, found: Metric, corrected: Metric, among: int, by: str = ""
) -> str:
    """Return what choosing the best of several, by another metric or the same, adds to its figure.

    Examples
    --------
    >>> from tlx.classify.scoring.metrics import Metric
    >>> told, corrected = Metric(0.91, 0.87, 0.94), Metric(0.9, 0.86, 0.93)
    >>> print(choice_text("lda-1", "accuracy", told, corrected, 7))
    Choosing the best of 7 by accuracy flatters lda-1 by about 1.0 points.
    Its accuracy without that: 0.9000 (0.8600 to 0.9300).
    """
    loss = metric == "log_loss"
    added = (corrected.value - found.value) if loss else 100 * (found.value - corrected.value)
    size = f"{added:.4f}" if loss else f"{added:.1f} points"
    choice = f"Choosing the best of {among} by {METRIC_NAMES[by or metric]} flatters {name}"
    if float(size.split()[0]) <= 0:
        return f"{choice} by next to nothing."
    return f"{choice} by about {size}.\nIts {METRIC_NAMES[metric]} without that: {corrected}."


def features_text(found: Mapping[str, Any], of: str = "") -> str:
    """Return which features were chosen among several, and why.

    Examples
    --------
    >>> last = {"features": "last", "gain": 0.0, "standard_error": 0.0, "chosen": 0}
    >>> both = {"features": "last + low", "gain": 0.04, "standard_error": 0.01, "chosen": 5}
    >>> print(features_text({"kept": "last + low", "fits": 5, "candidates": [last, both]}))
    Features: last + low, chosen in 5 of 5 folds and for the kept head. Its inner
    log loss is 0.0400 below that of last: 4.0 standard errors.
    """
    first, *others = found["candidates"]
    kept = next(each for each in found["candidates"] if each["features"] == found["kept"])
    best = kept if kept is not first else max(others, key=lambda each: each["gain"])
    folds = f"in {kept['chosen']} of {found['fits']} folds and for the kept head"
    how = folds if found["fits"] > 1 else "by inner folds"
    gain, error = best["gain"], best["standard_error"]
    less = (
        f"{gain:.4f} below that of {first['features']}: {gain / (error or 1):.1f} standard errors"
    )
    if best is kept:
        why = f"Its inner log loss is {less}."
    elif gain > 0:
        why = f"The inner log loss of {best['features']} is {less}, and more than 2 are needed."
    else:
        why = "No others have a lower inner log loss."
    text = f"Features{' of ' + of if of else ''}: {found['kept']}, chosen {how}. {why}"
    return textwrap.fill(text, 80, break_on_hyphens=False)


def confusion_table(confusion: Sequence[Sequence[int]], class_names: Sequence[str]) -> str:
    """Return the confusion matrix as a table; of many classes only the pairs most confused."""
    header = ["true \\ predicted", *class_names]
    rows = [[name, *row] for name, row in zip(class_names, confusion, strict=True)]
    room = screen_width()
    fits = not room or _table_width([header, *([str(c) for c in row] for row in rows)]) <= room
    if len(class_names) <= 12 and (fits or len(class_names) <= 3):
        return table(header, rows)
    pairs = [
        (confusion[i][j], class_names[i], class_names[j])
        for i in range(len(class_names))
        for j in range(len(class_names))
        if i != j and confusion[i][j]
    ]
    pairs.sort(key=lambda pair: -pair[0])
    return table(["true", "predicted", "images"], [[a, b, n] for n, a, b in pairs[:10]])


def percent(value: float) -> str:
    """Return a share as a percentage with one decimal.

    Examples
    --------
    >>> percent(0.98747)
    '98.7%'
    """
    return f"{100 * value:.1f}%"


def short_path(path: str) -> str:
    """Return a path as one types it: relative if it lies in the current folder."""
    here = os.getcwd()
    inside = path.startswith(os.path.join(here, ""))
    return os.path.relpath(path, here) if inside else path


def counts(numbers: Mapping[str, int]) -> str:
    """Return counts by name in one phrase; of many the total and the range.

    Examples
    --------
    >>> counts({"cats": 2, "dogs": 3})
    'cats 2, dogs 3'
    """
    if len(numbers) <= 8:
        return ", ".join(f"{_printable(name)} {n}" for name, n in numbers.items())
    least, most = min(numbers.values()), max(numbers.values())
    return f"{len(numbers)} classes of {least if least == most else f'{least} to {most}'} images"


def spreadsheet_text(text: str) -> str:
    """Return a cell of a CSV file that no spreadsheet takes for a formula.

    An apostrophe before it says so, as OWASP advises under "CSV Injection".

    Examples
    --------
    >>> spreadsheet_text("photos/1.jpg"), spreadsheet_text("=1+1.jpg")
    ('photos/1.jpg', "'=1+1.jpg")
    """
    return f"'{text}" if text.startswith(("=", "+", "-", "@", "\t", "\r", "\n")) else text


def local_minute(moment: str) -> str:
    """Return an ISO time to the minute, in the time zone of this machine.

    Examples
    --------
    >>> len(local_minute("2026-11-25T01:22:16.768853+00:00"))
    16
    """
    from datetime import datetime

    try:
        return f"{datetime.fromisoformat(moment).astimezone():%Y-%m-%d %H:%M}"
    except ValueError:
        return moment


def _printable(text: str) -> str:
    """Return `text` with what does not print escaped as in a Python string."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def text_width(text: str) -> int:
    """Return the columns that `text` takes on a terminal: two for wide characters."""
    if text.isascii():
        return len(text)
    from rich.cells import cell_len

    return cell_len(text)
