"""``tlx runs rm``: only what is named goes, and only for real without --dry-run."""

from __future__ import annotations

import json
from pathlib import Path


def run_folders(project: Path) -> set[str]:
    return {path.name for path in (project / ".tlx" / "runs").iterdir()}


def test_dry_run_removes_nothing(project, run_tlx) -> None:
    text = run_tlx("runs", "rm", "logreg-1", "--dry-run", cwd=project).stdout
    assert text == "would remove logreg-1\n"
    assert run_folders(project) == {"logreg-1"}


def test_removes_the_run_and_leaves_the_cache(project, run_tlx) -> None:
    run_tlx("fit-head", "--name", "kept", cwd=project)
    cached = sorted((project / ".tlx" / "cache").rglob("*.h5"))
    assert json.loads(run_tlx("runs", "rm", "logreg-1", "--json", cwd=project).stdout) == {
        "removed": ["logreg-1"],
        "dry_run": False,
    }
    assert run_folders(project) == {"kept"}
    assert sorted((project / ".tlx" / "cache").rglob("*.h5")) == cached


def test_one_unknown_name_and_nothing_goes(project, run_tlx) -> None:
    told = run_tlx("runs", "rm", "logreg-1", "logreg-2", cwd=project, code=1).stderr
    assert "Error: unknown run: 'logreg-2'.\nDid you mean logreg-1?" in told
    assert run_folders(project) == {"logreg-1"}


def test_paths_and_best_are_no_ids(project, run_tlx) -> None:
    for name in (".tlx/runs/logreg-1", "best", "../runs/logreg-1", "."):
        run_tlx("runs", "rm", name, cwd=project, code=1)
    assert run_folders(project) == {"logreg-1"}
