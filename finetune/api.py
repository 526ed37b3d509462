"""Fine-tune the top of a backbone from a head; keep it if better beyond chance, or as asked."""

from __future__ import annotations

import functools
import hashlib
import os
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..arguments import says_nearest_argument
from ..cache.spec import FeatureSpec
from ..classify.heads.linear import softmax
from ..classify.runs.backbone import run_backbone
from ..classify.runs.run import Run
from ..classify.runs.store import check_name
from ..classify.scoring.calibrate import fit_temperature
from ..embed.backbones.tap import feature_model
from ..embed.engines.engine import Engine
from ..errors import FitError
from ..workspace import Workspace
from .boundary import DTYPES, Boundary
from .cut import Choice, choose_cut
from .distribute import Devices, open_devices
from .export import save_network
from .folds import check_folds, retrain, train_folds
from .prepare import HeldOut, find_seed, goes_on, hold_out, hold_out_folds
from .probe import ProbeRow, choose_by_probe
from .result import FinetuneResult, Outcome
from .seed import PARITY_IMAGES, SeededNetwork, attach_head, check_parity
from .settings import Epoch, Settings, Training
from .train import average_weights, log_loss, train, training_key
from .verdict import Verdict, Worth, checked_keep, judge_epochs


@dataclass
class Callbacks:
    """What a caller wants to be told while it goes on.

    Attributes
    ----------
    log : callable
        Called with a line of text.
    probe : callable
        Called with the table behind the choice of ``"auto"``.
    progress : callable
        Called with images done and their number, while activations are computed.
    epoch : callable
        Called after each epoch with its numbers and the seconds left at most.
    """

    log: Callable[[str], None] = lambda text: None
    probe: Callable[[list[ProbeRow]], None] = lambda rows: None
    progress: Callable[[int, int], None] = lambda done, total: None
    epoch: Callable[[Epoch, float], None] = lambda epoch, seconds_left: None


@says_nearest_argument
def finetune_head(
    seed_run: str = "best",
    unfreeze: int | str = 20,
    *,
    workspace: str | os.PathLike[str] = ".tlx",
    dataset: str | None = None,
    settings: Settings | None = None,
    average: bool = False,
    folds: int | None = None,
    keep: str = "better",
    boundary_dtype: str = "auto",
    max_cache_gb: float = 10.0,
    engine: str | Engine = "auto",
    name: str | None = None,
    callbacks: Callbacks | None = None,
) -> FinetuneResult:
    """Fine-tune the top of a backbone, starting from a head, over cached activations.

    Parameters
    ----------
    seed_run : str, default="best"
        Run whose head the network starts from. ``"best"`` is the best of those that
        can: heads made of layers, over the features of one backbone.
    unfreeze : int or str, default=20
        How many layers to train; or the name of the first layer or block to train; ``"all"``; or
        ``"auto"``. Snapped towards the input to a place where one tensor crosses.
    workspace : path, default=".tlx"
    dataset : str, optional
        Which data set ``"best"`` is about; by default the one embedded last.
    settings : Settings, optional
        How to train.
    average : bool, default=False
        Take the best point on the line between the head's network and the fine-tuned one.
    folds : int, optional
        Without a validation split a fifth is held out. With `folds` each of so many folds is held
        out once, and a network that is kept is trained once more, on all images.
    keep : {"better", "finetuned", "head"}, default="better"
        The fine-tuned network if it is better than the head beyond chance, else the head; or one of
        them whatever is better. ``"best"`` stands for a network only if it is better.
    boundary_dtype : {"auto", "float16", "float32"}, default="auto"
        How activations at the cut are stored. ``"auto"`` is float16 unless the network's logits
        then differ from the head's by more than 1e-3, as they can with very small images.
    max_cache_gb : float, default=10
        The most they may take on disk, in units of 1e9 bytes.
    engine : {"auto", "openvino", "tensorflow"} or Engine, default="auto"
        What computes them.
    name : str, optional
        Of the new run. It takes the place of an interrupted fine-tuning of that name with the same
        seed run and settings, which it goes on with.
    callbacks : Callbacks, optional
        Whom to tell of the progress.

    Returns
    -------
    FinetuneResult

    Raises
    ------
    UnknownNameError
        If there is no such run, layer or block.
    FitError
        If the run's head cannot become a layer, or the network would not compute what it does.
    DataError
        If the activations would take too much space, or images have changed.
    WeightsError
        If the backbone's weights are not those of the embeddings.

    Examples
    --------
    >>> import tlx
    >>> embedded = tlx.embed_images("photos", workspace="work")
    >>> run = tlx.fit_head(workspace="work")
    >>> result = tlx.finetune_head(run.id, unfreeze=2, workspace="work")
    >>> result.verdict.kept in ("head", "finetuned")
    True
    """
    started = time.perf_counter()
    workspace, dtypes, keep = Workspace(workspace), _dtypes(boundary_dtype), checked_keep(keep)
    settings, callbacks = settings or Settings(), callbacks or Callbacks()
    run = find_seed(workspace, seed_run, dataset)
    callbacks.log(f"Using {run.describe()}.")
    replaced, held = _check(workspace, run, name, unfreeze, settings, folds, average)
    devices = open_devices(settings.strategy, callbacks.log)  # before TensorFlow computes anything
    backbone, spec = run_backbone(run, run.source), FeatureSpec.from_json(run.source["spec"])
    features = feature_model(backbone, spec)
    early = None if str(unfreeze).strip() == "auto" else choose_cut(features, unfreeze)
    held = held or _hold_out(workspace, run, settings, callbacks)
    choice, probe = _cut(features, early, held, spec, settings, callbacks)
    network = attach_head(features, choice.cut, held.head)
    at_cut = functools.partial(Boundary, workspace, held.table, backbone, spec, choice.cut)
    tries = [at_cut(dtype, engine) for dtype in dtypes]
    boundary, parity, reused = _begin(tries, network, held, spec, max_cache_gb, callbacks)
    _fill(boundary, held.used, devices, callbacks)
    checkpoints: list[Path] = []
    fit = functools.partial(_train, workspace, boundary, settings, devices, callbacks, checkpoints)
    if folds is None:
        found = _once(network, boundary, held, fit, run.info.seed, average, keep)
    else:
        everything = boundary.reader(held.train), held.y
        again = functools.partial(retrain, network.top, *everything, settings, callbacks.log)
        found = train_folds(network, choice.cut, held, run, fit, again, keep, callbacks.log)
    result = FinetuneResult(
        seed_run=run.id,
        choice=choice,
        probe=probe,
        boundary=_boundary_facts(boundary, choice, held, reused),
        parity=parity,
        devices=devices.names,
        protocol=held.protocol,
        refitted=held.refitted,
        **found.facts(),
    )
    result.seconds = time.perf_counter() - started
    if devices.worker == 0:
        save = functools.partial(save_network, workspace, name=name, replaces=replaced)
        result.run = save(network, run, held, found.proba, result, settings)
        for checkpoint in [] if found.training.interrupted else checkpoints:
            checkpoint.unlink(missing_ok=True)
    return result


def _dtypes(boundary_dtype: str) -> tuple[str, ...]:
    """Return the types to try for the activations, the first that is exact enough is taken."""
    if boundary_dtype not in ("auto", *DTYPES):
        allowed = ", ".join(("auto", *DTYPES))
        raise FitError(f"boundary dtype {boundary_dtype!r} is unknown.", f"Use {allowed}.")
    return DTYPES if boundary_dtype == "auto" else (boundary_dtype,)


def _check(
    workspace: Workspace,
    run: Run,
    name: str | None,
    unfreeze: int | str,
    settings: Settings,
    folds: int | None,
    average: bool,
) -> tuple[bool, HeldOut | None]:
    """Return whether a run of that name is gone on with, and the folds if they are asked for."""
    if folds is None:
        return goes_on(workspace, name, run, unfreeze, settings), None
    check_folds(unfreeze, settings, average=average)
    check_name(workspace, name)
    return False, hold_out_folds(workspace, run, folds)


def _hold_out(workspace: Workspace, run: Run, settings: Settings, callbacks: Callbacks) -> HeldOut:
    held = hold_out(workspace, run, settings.seed)
    if held.refitted:
        callbacks.log(f"The head is fitted again without the held-out images ({held.protocol}).")
    return held


def _cut(
    features: Any,
    choice: Choice | None,
    held: HeldOut,
    spec: FeatureSpec,
    settings: Settings,
    callbacks: Callbacks,
) -> tuple[Choice, list[ProbeRow]]:
    """Return the cut asked for, or the one that a probe finds, and the table behind that."""
    rows: list[ProbeRow] = []
    if choice is None:
        choice, rows = choose_by_probe(
            features, held.table, held.train, spec, settings.seed, callbacks.progress
        )
        callbacks.probe(rows)
    callbacks.log(f"Unfreeze {choice.text}: {choice.cut.parameters:,} weights are trained.")
    return choice, rows


def _begin(
    tries: list[Boundary],
    network: SeededNetwork,
    held: HeldOut,
    spec: FeatureSpec,
    max_cache_gb: float,
    callbacks: Callbacks,
) -> tuple[Boundary, float, int]:
    """Return the first boundary exact enough, how exact it is, and how many it has stored."""
    for boundary in tries:
        boundary.check_space(boundary.missing(held.used), max_cache_gb * 1e9)
        reused = boundary.stored(held.used)
        try:
            return boundary, _check_seed(boundary, network, held, spec), reused
        except FitError as error:
            if boundary is tries[-1]:
                raise
            callbacks.log(f"Activations are kept in float32: in float16 {error.cause}")
    raise AssertionError("there is at least one")


def _check_seed(
    boundary: Boundary, network: SeededNetwork, held: HeldOut, spec: FeatureSpec
) -> float:
    """Check on the first few images that the network begins as the head; return the parity."""
    first = held.used[:PARITY_IMAGES]
    boundary.compute(boundary.missing(first))
    return check_parity(
        network.top,
        boundary.reader(first).read(range(len(first))),
        held.head,
        held.table.X[first],
        spec.precision == "bfloat16",
    )


def _fill(boundary: Boundary, used: np.ndarray, devices: Devices, callbacks: Callbacks) -> None:
    """Compute the activations that are missing, after telling what that takes.

    Each worker takes its part; what is then still missing, for want of a shared workspace, it
    computes too.
    """

    def compute(rows: list[int]) -> None:
        if rows:
            callbacks.log(
                f"Activations of {len(rows)} images at the cut: "
                f"{len(rows) * boundary.row_bytes / 1e6:,.0f} MB, "
                f"about {boundary.estimate(rows):.0f} s."
            )
            boundary.compute(rows, callbacks.progress)

    missing = boundary.missing(used)
    devices.gather(0)  # all see the same ones missing
    compute(missing[devices.worker :: devices.workers])
    devices.gather(0)
    compute(boundary.missing(used))


def _checkpoint(
    workspace: Workspace, boundary: Boundary, held: HeldOut, settings: Settings, devices: Devices
) -> Path:
    """Return where the state of this training is kept, after all workers agree what it is."""
    digest, y = held.table.digest, held.table.y
    facts = {
        "boundary": boundary.spec.fingerprint,
        "settings": asdict(settings),
        "train": hashlib.sha256(digest[held.train].tobytes()).hexdigest(),
        "labels": hashlib.sha256(y[held.used].tobytes()).hexdigest(),
        "held_out": hashlib.sha256(digest[held.rows].tobytes()).hexdigest(),
    }
    devices.check_same(training_key(facts))
    key = training_key({**facts, "seed": held.head.digest()})
    return workspace.root / "finetune" / f"{key}.npz"


def _once(
    network: SeededNetwork,
    boundary: Boundary,
    held: HeldOut,
    fit: Callable[[SeededNetwork, HeldOut], Training],
    seed: int,
    average: bool,
    keep: str,
) -> Outcome:
    """Train, judge by the held-out images, and leave what is kept in the network."""
    start = [weight.numpy() for weight in network.top.trainable_variables]
    training = fit(network, held)
    point, candidates = _candidates(network, boundary, held, start, training, average)
    at_start = training.logits[0] * held.temperature  # it is calibrated already: taken back
    head, tuned, verdict = judge_epochs(
        held.y, held.groups, at_start, candidates, held.proba, keep, seed
    )
    proba = _keep(network, verdict, start, held, candidates, (head, tuned))
    return Outcome(training, head, tuned, verdict, proba, point)


def _train(
    workspace: Workspace,
    boundary: Boundary,
    settings: Settings,
    devices: Devices,
    callbacks: Callbacks,
    checkpoints: list[Path],
    network: SeededNetwork,
    held: HeldOut,
) -> Training:
    """Train the top of the network; note where its state is kept, until the run is safe."""
    checkpoint = _checkpoint(workspace, boundary, held, settings, devices)
    checkpoints.append(checkpoint)
    if settings.strategy != "none":
        callbacks.log(_devices_text(settings.strategy, devices.names))
    with devices.in_step():
        training = train(
            network.top,
            boundary.reader(held.train),
            held.table.y[held.train],
            boundary.reader(held.rows),
            held.y,
            settings,
            devices=devices,
            checkpoint=checkpoint,
            on_epoch=callbacks.epoch,
        )
    if training.diverged:
        lower = min(1e-4, settings.lr / 10)
        callbacks.log(
            f"Training stopped in epoch {training.epochs[-1].epoch}: the loss is no number any "
            f"more. A learning rate of {settings.lr:g} is too high here: try --lr {lower:g}."
        )
    return training


def _candidates(
    network: SeededNetwork,
    boundary: Boundary,
    held: HeldOut,
    start: list[np.ndarray],
    training: Training,
    average: bool,
) -> tuple[float | None, np.ndarray]:
    """Return logits of what may be kept instead of the head, and where on the line that is now."""
    if average and training.best_epoch:
        return average_weights(network.top, start, boundary.reader(held.rows), held.y)
    return None, np.stack(training.logits)[1:]


def _keep(
    network: SeededNetwork,
    verdict: Verdict,
    start: list[np.ndarray],
    held: HeldOut,
    candidates: np.ndarray,
    worth: tuple[Worth, Worth],
) -> np.ndarray:
    """Leave the weights of what is kept in the network, calibrated; return its probabilities."""
    if verdict.kept == "finetuned":
        best = min(candidates, key=functools.partial(log_loss, held.y))  # which it is now
        network.scale_logits(1 / fit_temperature(held.y, softmax(best)))
        return worth[1].proba
    for variable, value in zip(network.top.trainable_variables, start, strict=True):
        variable.assign(value)  # the head is calibrated already
    return worth[0].proba


def _boundary_facts(
    boundary: Boundary, choice: Choice, held: HeldOut, reused: int
) -> dict[str, Any]:
    return {
        "shape": list(choice.cut.shape),
        "bytes": len(held.used) * boundary.row_bytes,
        "reused": reused,
        "seconds": boundary.seconds,
    }


def _devices_text(strategy: str, devices: list[str]) -> str:
    if len(devices) > 1:
        return f"Training runs on {len(devices)} devices: {', '.join(devices)}."
    return f"Training runs on {devices[0]} alone: {strategy} has no other device to use here."
