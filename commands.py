"""Commands inside of texts, completed so that they are typed as they stand."""

from __future__ import annotations

import re
import shlex

_OF_A_DATASET = "fit-head|compare|audit|report|finetune|learning-curve|relabel"
_COMMAND = re.compile(  # and no part of a path
    r"(?<![\w./\\-])tlx ((?:cache|runs) [a-z]+|embed|evaluate|export|predict|runs|serve"
    rf"|{_OF_A_DATASET})(?![\w./\\-]*[\w/\\-])(?! --workspace)"
)


def complete_commands(text: str, workspace: str = "", dataset: str = "") -> str:
    """Return text whose commands name a workspace, and those of a data set which one.

    Parameters
    ----------
    text : str
    workspace, dataset : str, default=""
        What to name; "" for what needs no name. A text that names a data set keeps it.

    Examples
    --------
    >>> complete_commands("Run tlx audit. It reads my/tlx audit/1.jpg", "w", "old pets")
    "Run tlx audit --workspace w --dataset 'old pets'. It reads my/tlx audit/1.jpg"
    """
    place = f" --workspace {shlex.quote(workspace)}" if workspace else ""
    named = f" --dataset {shlex.quote(dataset)}" if dataset and "--dataset" not in text else ""
    of_a_dataset = _OF_A_DATASET.split("|")
    return _COMMAND.sub(lambda found: found[0] + place + named * (found[1] in of_a_dataset), text)
