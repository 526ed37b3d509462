"""Text for people: tables, figures with their intervals, and names."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ..classify.scoring.metrics import Metric

METRIC_NAMES = {
    "accuracy": "accuracy",
    "balanced_accuracy": "balanced accuracy",
    "macro_f1": "macro F1",
    "log_loss": "log loss",
    "roc_auc": "ROC AUC",
    "ece": "calibration error before",
    "ece_calibrated": "calibration error",
}


def table(header: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """Return rows under a header: text to the left, numbers to the right.

    What does not print, such as a line end or a terminal's escape code in a file name, is escaped.

    Examples
    --------
    >>> print(table(["class", "images"], [["cats", 700], ["dogs", 699]]))
    class  images
    cats      700
    dogs      699
    """
    cells = [[_printable(str(cell)) for cell in row] for row in [header, *rows]]
    widths = [max(_width(row[i]) for row in cells) for i in range(len(header))]
    numeric = [
        bool(rows) and all(isinstance(row[i], (int, float)) for row in rows)
        for i in range(len(header))
    ]
    lines = []
    for row in cells:
        padded = [
            " " * (w - _width(c)) + c if right else c + " " * (w - _width(c))
            for c, w, right in zip(row, widths, numeric, strict=True)
        ]
        lines.append("  ".join(padded).rstrip())
    return "\n".join(lines)


def metric_rows(metrics: Mapping[str, Metric]) -> list[list[str]]:
    """Return (name, value, interval) of each metric."""
    return [
        [METRIC_NAMES.get(name, name), f"{m.value:.4f}", f"{m.low:.4f} to {m.high:.4f}"]
        for name, m in metrics.items()
    ]


def confusion_table(confusion: Sequence[Sequence[int]], class_names: Sequence[str]) -> str:
    """Return the confusion matrix as a table; of many classes only the pairs most confused."""
    if len(class_names) <= 12:
        header = ["true \\ predicted", *class_names]
        rows = [[name, *row] for name, row in zip(class_names, confusion, strict=True)]
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
        return ", ".join(f"{name} {n}" for name, n in numbers.items())
    least, most = min(numbers.values()), max(numbers.values())
    return f"{len(numbers)} classes of {least if least == most else f'{least} to {most}'} images"


def _printable(text: str) -> str:
    """Return `text` with what does not print escaped as in a Python string."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def _width(text: str) -> int:
    """Return the columns that `text` takes on a terminal: two for wide characters."""
    if text.isascii():
        return len(text)
    from unicodedata import combining, east_asian_width

    return sum(0 if combining(c) else 2 if east_asian_width(c) in "WF" else 1 for c in text)
