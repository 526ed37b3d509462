"""The JSON of a fine-tuning has no value that JSON has not."""

from __future__ import annotations

import json
import math
from dataclasses import asdict, replace

import pytest

from tlx.classify.scoring.metrics import Metric
from tlx.classify.scoring.paired import Difference
from tlx.cli.finetune import as_text
from tlx.finetune.cut import Choice, Cut
from tlx.finetune.result import FinetuneResult, finite
from tlx.finetune.settings import Epoch, Training
from tlx.finetune.verdict import Verdict

SAME = Difference(0.0, 0.0, 0.0, 1.0)
METRICS = {"accuracy": Metric(0.9, 0.8, 1.0)}


def result(**training) -> FinetuneResult:
    return FinetuneResult(
        seed_run="logreg-1",
        choice=Choice("20", Cut("block", 22, 1000, (7, 7, 320)), "20 layers -> 22"),
        probe=[],
        boundary={"shape": [7, 7, 320], "bytes": 1, "reused": 0, "seconds": 0.1},
        parity=1e-6,
        training=Training(**training),
        devices=["CPU:0"],
        average=None,
        protocol="validation split",
        head=METRICS,
        finetuned=METRICS,
        verdict=Verdict("head", False, 10, SAME, SAME, 0, 0, "It did not help."),
        refitted=False,
    )


def test_a_diverged_training_has_null_for_its_losses():
    epoch = Epoch(1, math.inf, math.nan, 0.5, 1.0, False)
    told = result(epochs=[epoch], diverged=True).as_dict()
    assert json.loads(json.dumps(told, allow_nan=False)) == told
    assert told["epochs"] == [{**asdict(epoch), "train_loss": None, "val_loss": None}]
    assert told["finetuned"]["diverged"]


def test_numbers_stay_what_they_are():
    assert finite({"a": [1, 0.5, True, None, "x"]}) == {"a": [1, 0.5, True, None, "x"]}


def test_it_shows_itself_in_one_line():
    assert "\n" not in repr(result())
    assert "from 'logreg-1': head kept" in repr(result())


def diverged(k: int, epochs: int) -> dict:
    return {"fold": k, "diverged": True, "epochs": [{}] * epochs}


@pytest.mark.parametrize(
    ("folds", "training", "said"),
    [
        ([diverged(0, 3), diverged(1, 2)], {"diverged": True}, "Fold 2 diverged in its first"),
        ([], {"diverged": True}, "Training diverged in its first epoch"),
        ([], {}, "No epoch was trained."),
    ],
)
def test_why_no_epoch_counts_is_told(folds, training, said):
    found = replace(result(**training), folds=folds)
    assert said in as_text(found)


def test_differences_are_told_within_80_columns():
    found = result(epochs=[Epoch(0, None, 0.1, 0.9, 1.0, True)] * 2, best_epoch=1)
    wide = replace(SAME, value=-0.1234, low=-0.2345, high=0.1234, p_value=0.00012)
    verdict = replace(found.verdict, accuracy=wide, log_loss=wide, gained=1234, lost=1234)
    text = as_text(replace(found, verdict=verdict))
    assert max(map(len, text[text.index("accuracy -12.3") :].splitlines())) <= 80
