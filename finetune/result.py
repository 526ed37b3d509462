"""What a fine-tuning comes to, as an object and as JSON."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from ..classify.runs.run import Run
from ..classify.scoring.metrics import Metric
from ..reprs import html_table
from .cut import Choice
from .probe import ProbeRow
from .settings import Training
from .verdict import Verdict, Worth


@dataclass
class Outcome:
    """What training comes to; the network has the weights of what is kept, calibrated.

    Attributes
    ----------
    training : Training
    head, finetuned : Worth
    verdict : Verdict
    proba : ndarray of shape (M, C)
        What is told of the held-out images.
    average : float or None
    folds : list of dict
        What each fold came to, if there were several.
    """

    training: Training
    head: Worth
    finetuned: Worth
    verdict: Verdict
    proba: np.ndarray
    average: float | None = None
    folds: list[dict[str, Any]] = field(default_factory=list)

    def facts(self) -> dict[str, Any]:
        """Return what a `FinetuneResult` has of it, by the names there."""
        return {
            "training": self.training,
            "average": self.average,
            "head": self.head.metrics,
            "finetuned": self.finetuned.metrics,
            "verdict": self.verdict,
            "folds": self.folds,
        }


@dataclass(repr=False)
class FinetuneResult:
    """What `finetune_head` did.

    Attributes
    ----------
    seed_run : str
        Where the head came from.
    choice : Choice
        The cut.
    probe : list of ProbeRow
        The table behind the choice of ``"auto"``; else empty.
    boundary : dict
        ``shape``, ``bytes``, ``reused`` and ``seconds``.
    parity : float
        Largest difference between the logits of the seeded network and of the head.
    training : Training
    devices : list of str
        What it ran on.
    average : float or None
        Point on the line between head and fine-tuned weights, with ``average=True``.
    protocol : str
        Which images were held out.
    head, finetuned : dict of str to Metric
        What each is worth on them.
    verdict : Verdict
    refitted : bool
        Whether the head had to be fitted again without the held-out images.
    folds : list of dict
        With ``folds=K``: number, images, epochs and best epoch of each; else empty. `training` is
        then of all folds together.
    run : Run or None
        What is kept, head or fine-tuned network. None on all workers but the first, which has it.
    seconds : float
    """

    seed_run: str
    choice: Choice
    probe: list[ProbeRow]
    boundary: dict[str, Any]
    parity: float
    training: Training
    devices: list[str]
    average: float | None
    protocol: str
    head: dict[str, Metric]
    finetuned: dict[str, Metric]
    verdict: Verdict
    refitted: bool
    folds: list[dict[str, Any]] = field(default_factory=list)
    run: Run | None = None
    seconds: float = 0.0

    @property
    def untrained(self) -> str:
        """Why there is no trained epoch to judge, in a sentence; "" if there is one."""
        if self.training.best_epoch:
            return ""
        for fold in self.folds:
            if fold["diverged"] and len(fold["epochs"]) <= 2:
                return f"Fold {fold['fold'] + 1} diverged in its first epoch: try a lower --lr."
        if self.training.diverged:
            return "Training diverged in its first epoch: try a lower --lr."
        return "No epoch was trained."

    def __repr__(self) -> str:
        run = self.run.id if self.run else None
        return (
            f"<FinetuneResult {run!r} from {self.seed_run!r}: {self.verdict.kept} kept; accuracy "
            f"{self.head['accuracy']} of the head, {self.finetuned['accuracy']} fine-tuned>"
        )

    def _repr_html_(self) -> str:
        rows = [(name, m, self.finetuned.get(name, "")) for name, m in self.head.items()]
        return html_table(repr(self), ("metric", "head", "fine-tuned"), rows)

    def as_dict(self) -> dict[str, Any]:
        """Return the JSON object of the command; what is no number in it is None."""
        cut = self.choice.cut
        told = {
            "run": self.run.id if self.run else None,
            "seed_run": self.seed_run,
            "unfreeze": {
                "requested": self.choice.requested,
                "layers": cut.layers,
                "cut": cut.name,
                "parameters": cut.parameters,
                "probe": [asdict(row) for row in self.probe],
            },
            "boundary": self.boundary,
            "parity": self.parity,
            "epochs": [asdict(epoch) for epoch in self.training.epochs],
            "protocol": self.protocol,
            "head": {"metrics": _plain(self.head), "refitted": self.refitted},
            "finetuned": {
                "metrics": _plain(self.finetuned),
                "devices": self.devices,
                "best_epoch": self.training.best_epoch,
                "average": self.average,
                "interrupted": self.training.interrupted,
                "diverged": self.training.diverged,
                "resumed_at": self.training.resumed_at,
            },
            "folds": self.folds,
            "verdict": asdict(self.verdict),
            "kept": self.verdict.kept,
            "seconds": self.seconds,
        }
        return finite(told)


def finite(value: Any) -> Any:
    """Return `value` with None in place of each number within it that JSON does not have.

    Examples
    --------
    >>> finite({"loss": [0.5, float("nan")]})
    {'loss': [0.5, None]}
    """
    if isinstance(value, dict):
        return {key: finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _plain(metrics: dict[str, Metric]) -> dict[str, dict[str, float]]:
    return {name: asdict(metric) for name, metric in metrics.items()}
