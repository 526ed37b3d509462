"""How often test images were looked at: each evaluation leaves a file, and none is ever changed.

A figure on test images is honest as long as nothing was chosen by it. Nobody can see into heads,
but evaluations can be counted: those of the same images, whatever the data set is called, and
however their labels were corrected since.
"""

from __future__ import annotations

import hashlib
import json
import re
import secrets
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timezone

import numpy as np

from ...cache.files import write_atomic
from ...cache.identity import canonical_json
from ...errors import StorageError
from ...workspace import Workspace
from .predictions import trained_id
from .run import Run

_DIGITS = 16  # of the hash that stands for a run in a name
_NAME = re.compile(rf"([0-9a-f]{{{_DIGITS}}})-[0-9a-f]{{{_DIGITS}}}\.json")


@dataclass(frozen=True)
class Uses:
    """How often images were evaluated.

    Attributes
    ----------
    count : int
        Evaluations, this one among them.
    runs : int
        Different runs among them. Runs that are the same in every byte are one, and one that was
        removed since still counts.
    kept : bool
        Whether this one could be written down.
    """

    count: int
    runs: int
    kept: bool = True


def images_id(digest: np.ndarray, class_names: Iterable[str]) -> str:
    """Return what is equal for the same images and classes, whatever the label of each.

    Parameters
    ----------
    digest : ndarray of shape (N, 32), uint8
    class_names : iterable of str
        Other classes are another question to the same images.
    """
    key = canonical_json({"classes": sorted(class_names), "images": trained_id(digest)})
    return hashlib.sha256(key.encode()).hexdigest()


def count_use(
    workspace: Workspace, run: Run, digest: np.ndarray, class_names: Iterable[str], dataset: str
) -> Uses:
    """Write down that a run was evaluated on images, and return how often any was.

    Processes need not wait for each other: each writes a file of its own. Where the workspace
    cannot be written, the evaluation is counted in the answer only.

    Parameters
    ----------
    workspace : Workspace
    run : Run
    digest : ndarray of shape (N, 32), uint8
        Of the images.
    class_names : iterable of str
        Of the data set.
    dataset : str
        Its name, for people.
    """
    folder = workspace.evaluations / images_id(digest, class_names)
    own = hashlib.sha256(canonical_json(dict(run.info.parts)).encode()).hexdigest()[:_DIGITS]
    told = {
        "run": run.id,
        "dataset": dataset,
        "images": len(digest),
        "time": datetime.now(timezone.utc).isoformat(timespec="seconds"),
    }
    name = f"{own}-{secrets.token_hex(_DIGITS // 2)}.json"
    kept = True
    try:
        write_atomic(folder / name, json.dumps(told).encode())
    except StorageError:
        kept = False
    try:
        found = [_NAME.fullmatch(path.name) for path in folder.iterdir()]
    except OSError:
        found = []
    before = [match[1] for match in found if match and match[0] != name]
    return Uses(len(before) + 1, len({*before, own}), kept)
