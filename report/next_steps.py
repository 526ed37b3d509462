"""What to do next, ranked: what each step would bring, as far as that is known."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from ..classify.duplicates import are_grouped
from ..classify.findings.finding import Finding
from ..classify.runs.run import Run
from ..classify.scoring.intervals import Z
from .charts import number
from .judged import Judged

UNKNOWN = "not known"


@dataclass(frozen=True)
class Step:
    """Something to do.

    Attributes
    ----------
    title, why : str
        What, and the reason.
    command : str
        What to type.
    effect : str
        What it brings, with its 95% interval, or that it is not known.
    """

    title: str
    why: str
    command: str
    effect: str


def next_steps(
    judged: Judged | None,
    findings: Sequence[Finding],
    runs: Sequence[Run],
    embed: str,
    twice: str = "",
) -> list[Step]:
    """Return what to do next, the surest first.

    Parameters
    ----------
    judged : Judged or None
        Of the run that is judged.
    findings : sequence of Finding
    runs : sequence of Run
        All that can be compared.
    embed : str
        The command that embeds the data set.
    twice : str, default=""
        What twice the images would bring, if that was measured.
    """
    if judged is None:
        return [
            Step(
                "Fit a classifier",
                "Without a run nothing can be said of labels and mistakes.",
                "tlx fit-head --model logreg,lda",
                UNKNOWN,
            )
        ]
    most = _at_most(len(judged.wrong) / len(judged.scored.path))
    grouped = are_grouped(judged.run.info.near_duplicates)
    handling = " --near-duplicates group" if grouped else ""  # or it cannot be compared
    steps = [*_labels(judged, findings), *_copies(findings), *_heads(runs, most, handling)]
    steps += _hardest_class(judged, embed, twice)
    steps += [
        Step(
            "Let other layers take part",
            "Lower layers help on images unlike photos; a choice within the folds says whether.",
            f"tlx fit-head --features auto{handling}",
            f"{UNKNOWN}; {most}",
        ),
        *_finetuning(runs, most),
        Step(
            "Try another backbone",
            "Other networks see other things; compare tells whether it matters.",
            f"{embed} --backbone efficientnet-lite2",
            f"{UNKNOWN}; {most}",
        ),
    ]
    return steps


def _at_most(share: float) -> str:
    return f"at most {100 * share:+.1f} points" if share else "nothing is wrong here"


def _labels(judged: Judged, findings: Sequence[Finding]) -> list[Step]:
    """Return what correcting suspect labels brings: each is wrong with its probability."""
    flagged = [one for f in findings if f.name == "suspect-label" for one in f.images]
    if not flagged:
        return []
    names, scored = judged.run.class_names, judged.scored
    taken_for = {scored.path[row]: names[judged.predicted[row]] for row in judged.wrong}
    sure = [
        one.score
        for one in flagged
        if one.score is not None
        and 0 <= one.score <= 1
        and taken_for.get(one.path) == one.suggested
    ]
    effect = UNKNOWN
    if sure:
        M, mean = len(scored.path), math.fsum(sure)
        half = Z * math.sqrt(math.fsum(p * (1 - p) for p in sure))
        low, high = max(0.0, mean - half), min(float(len(sure)), mean + half)
        gain, least, greatest = (100 * n / M for n in (mean, low, high))
        effect = f"{gain:+.1f} points ({least:+.1f} to {greatest:+.1f}) of accuracy as measured"
    one = len(flagged) == 1
    return [
        Step(
            f"Look at {len(flagged)} suspect label{'' if one else 's'}",
            "A wrong label counts as a mistake, and teaches one.",
            "tlx relabel corrections.csv",
            effect,
        )
    ]


def _copies(findings: Sequence[Finding]) -> list[Step]:
    if not any(f.name == "leak" for f in findings):
        return []
    return [
        Step(
            "Keep near-duplicates on one side",
            "What was learned from is scored again, so the figures are too good.",
            "tlx fit-head --near-duplicates group",
            f"{UNKNOWN}; figures one can trust",
        )
    ]


def _heads(runs: Sequence[Run], most: str, handling: str) -> list[Step]:
    there = {run.info.model for run in runs}
    missing = [model for model in ("logreg", "lda", "vote") if model not in there]
    if not missing:
        return []
    return [
        Step(
            "Fit the other heads that matter",
            "It takes seconds, and the next report compares them on the same images.",
            f"tlx fit-head --model {','.join(missing)}{handling}",
            f"{UNKNOWN}; {most}",
        )
    ]


def _hardest_class(judged: Judged, embed: str, twice: str) -> list[Step]:
    """Return adding images of the class that loses most, if one loses any."""
    lost = judged.confusion.sum(axis=1) - judged.confusion.diagonal()
    c, total = int(lost.argmax()), int(judged.confusion.sum())
    if not lost[c]:
        return []
    name, n = judged.run.class_names[c], int(judged.confusion[c].sum())
    return [
        Step(
            f"Add images of {name}",
            f"{lost[c]} of its {n} are taken for others; tlx learning-curve tells what more "
            "images of all classes would bring.",
            embed,
            twice or f"{UNKNOWN}; {_at_most(float(lost[c]) / total)}",
        )
    ]


def _finetuning(runs: Sequence[Run], most: str) -> list[Step]:
    for run in runs:
        found = measured_gain(run)
        if found is not None:
            value, low, high = (100 * each for each in found)
            return [
                Step(
                    f"Fine-tuning, as {run.id} did",
                    f"It kept the {'network' if run.info.finetune.kept != 'head' else 'head'}."
                    if run.info.finetune
                    else "",
                    "tlx finetune --unfreeze auto",
                    f"{value:+.1f} points ({low:+.1f} to {high:+.1f}), measured",
                )
            ]
    return [
        Step(
            "Fine-tune the top of the network",
            "It takes minutes, and keeps the network only where it is better beyond chance.",
            "tlx finetune --unfreeze auto",
            f"{UNKNOWN}; {most}",
        )
    ]


def measured_gain(run: Run) -> tuple[float, float, float] | None:
    """Return by how much fine-tuning beat its head in accuracy, with its interval, if it is told.

    What a run's file says may have been written by anybody.
    """
    if run.info.finetune is None:
        return None
    verdict = run.info.finetune.report.get("verdict")
    found = verdict.get("accuracy") if isinstance(verdict, dict) else None
    if not isinstance(found, dict):
        return None
    value, low, high = (number(found.get(key)) for key in ("value", "low", "high"))
    return None if value is None or low is None or high is None else (value, low, high)
