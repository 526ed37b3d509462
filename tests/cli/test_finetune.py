"""`tlx finetune` as a user meets it: one real run of one epoch, and what it refuses."""

import json

import pytest

from tlx.cli.finetune import epoch_line
from tlx.finetune.settings import Epoch


def test_one_epoch_of_the_real_backbone_has_the_promised_keys(real_project, run_tlx, tmp_path):
    workspace = str(real_project.folder / ".tlx")
    done = run_tlx(
        "finetune",
        "--unfreeze",
        "5",
        "--epochs",
        "1",
        "--workspace",
        workspace,
        "--json",
        cwd=tmp_path,
    )
    result = json.loads(done.stdout)
    assert {
        *("run", "seed_run", "unfreeze", "boundary", "parity", "epochs", "head", "finetuned"),
        *("kept", "seconds"),
    } <= result.keys()
    assert {"requested", "layers", "cut"} <= result["unfreeze"].keys()
    assert {"shape", "bytes", "reused", "seconds"} <= result["boundary"].keys()
    assert {"train_loss", "val_loss"} <= result["epochs"][-1].keys()
    assert result["parity"] < 1e-3
    assert result["kept"] == ("finetuned" if result["verdict"]["better"] else "head")


@pytest.mark.slow
def test_no_epoch_keeps_the_head_under_the_name_asked_for(real_project, run_tlx, tmp_path):
    where = ("--workspace", str(real_project.folder / ".tlx"))
    options = ("--unfreeze", "5", "--epochs", "0", "--name", "as-it-is", *where)
    done = run_tlx("finetune", *options, cwd=tmp_path)
    assert "Kept: the head. No epoch was trained." in done.stdout
    assert "The table has each image" not in done.stdout
    assert "run as-it-is in" in done.stdout
    again = run_tlx("finetune", *options, cwd=tmp_path, code=1)
    assert "there is a run 'as-it-is' already" in again.stderr
    assert "epoch" not in again.stderr  # it is refused before anything is done
    run_tlx("runs", "rm", "as-it-is", *where, cwd=tmp_path)


def test_without_a_run_it_says_what_to_type(run_tlx, tmp_path):
    done = run_tlx("finetune", cwd=tmp_path, code=1)
    assert "Run tlx" in done.stderr


def test_the_last_epoch_leaves_no_time():
    epoch = Epoch(2, 0.1, 0.2, 0.9, 1.5, best=False)
    assert epoch_line(epoch, 3.0, 2).endswith("1.5 s, at most 3 s left")
    assert epoch_line(epoch, 0.0, 2).endswith("1.5 s")
