"""Wrong labels: some of the labels are exchanged, at several rates; embeddings stay as they are.

Beside it, where cleanlab is installed, what `find_label_issues` names of the probabilities of the
same run.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path

import numpy as np

import tlx
from tlx.cache.manifest import Manifest
from tlx.classify.runs.run import Run
from tlx.workspace import Workspace

from .common import Row, flagged

NAME = "suspect-label"
# Share of wrong labels, whether of the first class alone, wanted recall and precision.
SETTINGS = {
    "1% wrong labels": (0.01, False, 0.0, 0.0),
    "5% wrong labels": (0.05, False, 0.9, 0.8),
    "10% wrong labels": (0.1, False, 0.0, 0.8),
    "20% wrong labels": (0.2, False, 0.0, 0.8),
    "5% wrong labels, of one class": (0.05, True, 0.0, 0.8),
}


def exchanged(
    manifest: Manifest, rate: float, one_class: bool, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Return labels of which some are wrong, and the rows of these."""
    label, C = manifest.label.copy(), len(manifest.class_names)
    able = np.flatnonzero((label == 0) if one_class else (label >= 0))
    rows = rng.choice(able, min(round(rate * (label >= 0).sum()), len(able) // 2), replace=False)
    label[rows] = (label[rows] + rng.integers(1, C, len(rows))) % C
    return label, rows


def measure(data: Path, folder: Path, seed: int) -> Iterator[Row]:
    workspace = Workspace(folder / ".tlx")
    name = tlx.embed_images(data, workspace=workspace).dataset
    clean = workspace.load_manifest(name)
    nothing = flagged(tlx.audit_run(dataset=name, workspace=workspace, only=NAME), NAME)
    print(f"labels as they are: {len(nothing)} of {len(clean):,} named")
    for number, (fault, (rate, one_class, found, precision)) in enumerate(SETTINGS.items()):
        rng = np.random.default_rng([seed, number])
        label, rows = exchanged(clean, rate, one_class, rng)
        planted = dataclasses.replace(clean, name=f"planted-{number}", label=label)
        planted.save(workspace.manifest_path(planted.name))
        wrong = {clean.path[row] for row in rows}
        run = tlx.fit_head("logreg", dataset=planted.name, workspace=workspace)
        told = flagged(tlx.audit_run(run, workspace=workspace, only=NAME), NAME)
        yield row_of(fault, wrong, told, found, precision)
        if theirs := by_cleanlab(run):
            scored = set(run.predictions().path)
            yield row_of("  scored ones, by tlx", wrong & scored, told & scored)
            yield row_of("  scored ones, by cleanlab", wrong & scored, theirs)


def row_of(
    fault: str, wrong: set[str], told: set[str], found: float = 0.0, precision: float = 0.0
) -> Row:
    right = len(wrong & told)
    shares = right / max(len(wrong), 1), right / len(told) if told else float("nan")
    return Row(fault, len(wrong), *shares, found, precision)


def by_cleanlab(run: Run) -> set[str]:
    try:
        from cleanlab.filter import find_label_issues
    except ImportError:
        return set()
    said = run.predictions()
    issues = find_label_issues(said.label, said.probabilities, n_jobs=1)
    return {path for path, issue in zip(said.path, issues, strict=True) if issue}
