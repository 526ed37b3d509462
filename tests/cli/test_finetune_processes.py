"""`tlx finetune` in real processes: killed, interrupted, and in step with other workers."""

from __future__ import annotations

import io
import json
import shutil
import signal
import socket
import subprocess
import sys
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import h5py
import numpy as np
import pytest

from tlx.classify.fit import fit_head
from tlx.classify.runs.best import load_run
from tlx.embed.pipeline import embed_images
from tlx.lazy_imports import import_keras

pytestmark = [
    pytest.mark.slow,  # every test starts processes that import TensorFlow
    # Keras 3 saves TensorFlow variables in a way that NumPy 2 calls deprecated.
    pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning"),
]
CLASSES = ("amber", "blue", "coral")
# Many short epochs: the signal comes long before the last one.
OPTIONS = ("--unfreeze", "3", "--epochs", "30", "--patience", "30", "--lr", "2e-3")
OPTIONS += ("--batch-size", "2", "--engine", "tensorflow", "--keep", "finetuned", "--json")

Start = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture(scope="module")
def stages(tmp_path_factory, class_folders) -> Path:
    """Return a folder with ``data/`` of 3 x 30 images and the weak head of a tiny network."""
    folder = tmp_path_factory.mktemp("stopped")
    class_folders(folder / "data", dict.fromkeys(CLASSES, 30))
    keras = import_keras()
    layers = keras.layers
    keras.utils.set_random_seed(0)
    pixels = keras.Input((96, 96, 3))
    x = layers.Rescaling(1 / 128, offset=-1.0)(pixels)
    for number, units in enumerate((16, 32, 16), 1):  # heavy enough to be interrupted in
        x = layers.Conv2D(units, 5, padding="same", activation="relu", name=f"trunk{number}")(x)
    x = layers.MaxPooling2D(12)(x)
    x = layers.Conv2D(12, 3, activation="relu", name="block1")(x)
    x = layers.Conv2D(12, 3, activation="relu", name="block2")(x)
    x = layers.Conv2D(8, 3, name="block3")(x)
    keras.Model(pixels, x).save(folder / "tiny.keras")
    embed_images(
        folder / "data",
        backbone=f"keras:{folder / 'tiny.keras'}",
        workspace=folder / ".tlx",
        image_size=96,
        engine="tensorflow",
        validation_fraction=0.3,
    )
    fit_head("logreg", workspace=folder / ".tlx", C=1e-3)
    return folder


@pytest.fixture
def folders(stages, tmp_path) -> Iterator[Path]:
    """Yield folders with a workspace of their own; the images stay where they are."""

    def copies() -> Iterator[Path]:
        for number in range(9):
            folder = tmp_path / str(number)
            shutil.copytree(stages / ".tlx", folder / ".tlx")
            yield folder

    return copies()


@pytest.fixture
def start(environment) -> Iterator[Start]:
    """Yield a function that starts the command in a folder; nothing outlives the test."""
    processes = []

    def run(
        folder: Path,
        *options: str,
        before: Callable[[], None] | None = None,
        **variables: str,
    ) -> subprocess.Popen[str]:
        processes.append(
            subprocess.Popen(
                [sys.executable, "-m", "tlx", "finetune", *OPTIONS, *options],
                cwd=folder,
                preexec_fn=before,
                env={**environment, **variables},
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
        )
        return processes[-1]

    yield run
    for process in processes:
        if process.poll() is None:
            process.kill()
        process.communicate()


def ignore_interrupts() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def read_until(process: subprocess.Popen[str], text: str) -> str:
    """Return the line on stderr in which `text` stands."""
    assert process.stderr is not None
    told = []
    for line in process.stderr:
        told.append(line)
        if text in line:
            return line
    raise AssertionError(f"{text!r} was never said:\n{''.join(told)}")


def arrays_of(model: Path) -> dict[str, np.ndarray]:
    """Return the weights in a ``.keras`` file by name."""
    found = {}
    with zipfile.ZipFile(model) as archive:
        weights = io.BytesIO(archive.read("model.weights.h5"))
    with h5py.File(weights, "r") as file:
        file.visititems(
            lambda name, item: (
                found.update({name: item[()]}) if isinstance(item, h5py.Dataset) else None
            )
        )
    return found


def test_kill_9_and_the_same_command_end_as_an_undisturbed_run(folders, start, run_tlx):
    calm, stopped = next(folders), next(folders)
    whole = json.loads(run_tlx("finetune", *OPTIONS, cwd=calm).stdout)

    process = start(stopped)
    read_until(process, "epoch 5/30")
    process.send_signal(signal.SIGKILL)
    assert process.wait(60) == -signal.SIGKILL
    assert not list((stopped / ".tlx" / "runs").glob("finetune*"))
    again = json.loads(run_tlx("finetune", *OPTIONS, cwd=stopped).stdout)

    assert 5 <= again["finetuned"]["resumed_at"] < 30
    assert whole["finetuned"]["resumed_at"] == 0
    assert whole["kept"] == again["kept"] == "finetuned"
    assert len(again["epochs"]) == 31
    for name in ("train_loss", "val_loss"):
        one, two = ([epoch[name] or 0 for epoch in result["epochs"]] for result in (whole, again))
        assert two == pytest.approx(one, rel=1e-5, abs=1e-7)
    for name, metric in whole["finetuned"]["metrics"].items():
        assert again["finetuned"]["metrics"][name] == pytest.approx(metric, rel=1e-4, abs=1e-6)
    one, two = (
        arrays_of(folder / ".tlx" / "runs" / "finetune-1" / "model.keras")
        for folder in (calm, stopped)
    )
    assert one.keys() == two.keys()
    for name in one:
        np.testing.assert_allclose(one[name], two[name], rtol=1e-4, atol=1e-5)
    assert not list((stopped / ".tlx" / "finetune").iterdir())  # the checkpoint is gone


def test_ctrl_c_in_training_keeps_the_best_epoch_and_the_same_command_goes_on(
    folders, start, run_tlx
):
    folder = next(folders)
    process = start(folder, "--name", "mine")
    read_until(process, "epoch 5/30")
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    assert "Interrupted: the run is of the epochs so far" in err
    assert "Traceback" not in err
    result = json.loads(out)
    assert result["finetuned"]["interrupted"]
    assert 6 <= len(result["epochs"]) < 31
    losses = [epoch["val_loss"] for epoch in result["epochs"]]
    assert result["finetuned"]["best_epoch"] == 1 + int(np.argmin(losses[1:]))
    run = load_run(result["run"], folder / ".tlx")
    assert run.info.finetune.report["finetuned"]["interrupted"]

    again = json.loads(run_tlx("finetune", *OPTIONS, "--name", "mine", cwd=folder).stdout)
    assert again["run"] == result["run"] == "mine"
    assert again["finetuned"]["resumed_at"] == len(result["epochs"]) - 1
    assert not again["finetuned"]["interrupted"]
    assert [epoch["val_loss"] for epoch in again["epochs"][: len(losses)]] == losses
    ended = load_run("mine", folder / ".tlx").info.finetune
    assert not ended.report["finetuned"]["interrupted"]
    assert {run.name for run in (folder / ".tlx" / "runs").iterdir()} == {"logreg-1", "mine"}


def test_termination_ends_a_training_resumably_where_ctrl_c_is_ignored(folders, start):
    folder = next(folders)
    process = start(folder, "--name", "mine", before=ignore_interrupts)
    read_until(process, "epoch 5/30")
    process.send_signal(signal.SIGTERM)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    assert json.loads(out)["finetuned"]["interrupted"]


def test_ctrl_c_while_activations_are_computed_keeps_those_that_are(folders, start, run_tlx):
    folder = next(folders)
    process = start(folder)
    read_until(process, "Activations of 26 images")  # the first 64 were for the check of the start
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    assert cause_of(out) == "Interrupted."
    assert "Traceback" not in err
    again = json.loads(run_tlx("finetune", *OPTIONS, "--epochs", "1", cwd=folder).stdout)
    assert 64 <= again["boundary"]["reused"] < 90
    assert len(again["epochs"]) == 2


@pytest.fixture
def start_workers(start) -> Callable[..., list[subprocess.Popen[str]]]:
    """Return a function that starts one worker of a cluster in each of some folders."""

    def run(folders: list[Path], *options: tuple[str, ...]) -> list[subprocess.Popen[str]]:
        addresses = [f"127.0.0.1:{free_port()}" for _ in folders]
        found = []
        for index, folder in enumerate(folders):
            task = {"type": "worker", "index": index}
            config = json.dumps({"cluster": {"worker": addresses}, "task": task})
            own = options[index] if options else ()
            found.append(start(folder, "--strategy", "mirrored", *own, TF_CONFIG=config))
        return found

    return run


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return sock.getsockname()[1]


def results(workers: list[subprocess.Popen[str]]) -> list[dict]:
    """Return what the workers, which end well, say; under "stderr" what they say meanwhile."""
    told = [worker.communicate(timeout=120) for worker in workers]
    assert [worker.returncode for worker in workers] == [0] * len(workers), told
    return [{**json.loads(out), "stderr": err} for out, err in told]


def cause_of(out: str) -> str:
    """Return the cause of the error that is all that was written to standard output."""
    return json.loads(out)["error"]["cause"]


def losses_of(result: dict) -> list[float]:
    return [epoch[name] or 0 for epoch in result["epochs"] for name in ("train_loss", "val_loss")]


def test_two_workers_on_one_workspace_train_what_one_does(folders, start_workers, run_tlx):
    alone, shared = next(folders), next(folders)
    one = json.loads(run_tlx("finetune", *OPTIONS, cwd=alone).stdout)
    first, second = results(start_workers([shared, shared]))
    assert len(first["finetuned"]["devices"]) == 2
    assert losses_of(first) == pytest.approx(losses_of(one), rel=1e-4, abs=1e-6)
    assert losses_of(second) == pytest.approx(losses_of(first), rel=1e-6)
    assert first["kept"] == second["kept"] == one["kept"]
    # Of 90 images 64 were for the check of the start: each computes half of the others.
    assert all("Activations of 13 images" in result["stderr"] for result in (first, second))
    assert (first["run"], second["run"]) == ("finetune-1", None)
    assert [run.name for run in (shared / ".tlx" / "runs").glob("finetune*")] == ["finetune-1"]
    assert not list((shared / ".tlx" / "finetune").iterdir())


def test_workers_need_not_share_a_workspace(folders, start_workers):
    places = [next(folders), next(folders)]
    first, second = results(start_workers(places))
    assert losses_of(second) == pytest.approx(losses_of(first), rel=1e-6)
    assert (first["run"], second["run"]) == ("finetune-1", None)
    assert not list((places[1] / ".tlx" / "runs").glob("finetune*"))


@pytest.mark.parametrize("killed", [0, 1])
def test_one_worker_killed_stops_the_other_and_both_go_on_from_there(
    folders, start_workers, killed
):
    calm, stopped = next(folders), next(folders)
    whole, _ = results(start_workers([calm, calm]))
    workers = start_workers([stopped, stopped])
    read_until(workers[0], "epoch 5/30")
    workers[killed].kill()
    out, err = workers[1 - killed].communicate(timeout=120)
    assert workers[1 - killed].returncode == 1
    assert cause_of(out).startswith("another worker stopped")
    assert "Traceback" not in err
    first, _ = results(start_workers([stopped, stopped]))
    assert 4 <= first["finetuned"]["resumed_at"] < 30
    assert losses_of(first) == pytest.approx(losses_of(whole), rel=1e-4, abs=1e-6)


def test_workers_that_would_not_train_the_same_are_refused(folders, start_workers):
    shared = next(folders)
    workers = start_workers([shared, shared], ("--seed", "1"), ("--seed", "2"))
    for worker in workers:
        out, _ = worker.communicate(timeout=120)
        assert worker.returncode == 1
        assert cause_of(out).startswith("the workers do not train the same")
