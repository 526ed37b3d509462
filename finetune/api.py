"""Fine-tune the top of a backbone from a head, and keep the better of the two as a run."""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from ..arguments import says_nearest_argument
from ..cache.spec import FeatureSpec
from ..classify.folds import stratified_group_folds
from ..classify.heads.dense import DensePredictor
from ..classify.heads.linear import LinearPredictor, softmax
from ..classify.runs.best import best_run, load_run
from ..classify.runs.run import Finetuning, Predictions, Run, RunInfo
from ..classify.runs.store import check_name, save_run
from ..classify.scoring.calibrate import apply_temperature, calibration_error, cross_calibrate
from ..classify.scoring.metrics import Metric, confusion_matrix, image_loss, score
from ..classify.table import FeatureTable, load_table
from ..embed.backbones.registry import Backbone, feature_model, get_backbone
from ..embed.engines.registry import Engine
from ..errors import DataError, FitError, WeightsError
from ..reprs import html_table
from ..workspace import Workspace
from .boundary import DTYPES, Boundary
from .cut import Choice, choose_cut
from .distribute import Devices, open_devices
from .export import MODEL_FILE, embedding_layer, model_bytes, whole_model
from .probe import ProbeRow, choose_by_probe
from .seed import (
    PARITY_IMAGES,
    SEEDS,
    SeededNetwork,
    SeedHead,
    attach_head,
    check_parity,
    seed_head,
)
from .train import (
    Epoch,
    Settings,
    Training,
    average_weights,
    predict_logits,
    train,
    training_key,
)
from .verdict import Verdict, judge

MODEL = "finetune"
_INNER_FOLDS = 5  # one of them is held out if the data set has no validation split


@dataclass(repr=False)
class FinetuneResult:
    """What `finetune_head` did.

    Attributes
    ----------
    run : Run or None
        The better of head and fine-tuned network. None on all workers but the first, which has it.
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
    seconds : float
    """

    run: Run | None
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
    seconds: float

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
        """Return the JSON object of the command."""
        cut = self.choice.cut
        return {
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
                "resumed_at": self.training.resumed_at,
            },
            "verdict": asdict(self.verdict),
            "kept": self.verdict.kept,
            "seconds": self.seconds,
        }


@dataclass
class Watch:
    """What a caller wants to be told while it goes on.

    Attributes
    ----------
    tell : callable
        Called with a line of text.
    probe : callable
        Called with the table behind the choice of ``"auto"``.
    progress : callable
        Called with images done and their number, while activations are computed.
    epoch : callable
        Called after each epoch with its numbers and the seconds left at most.
    """

    tell: Callable[[str], None] = lambda text: None
    probe: Callable[[list[ProbeRow]], None] = lambda rows: None
    progress: Callable[[int, int], None] = lambda done, total: None
    epoch: Callable[[Epoch, float], None] = lambda epoch, seconds_left: None


@dataclass
class _Problem:
    """A head, the images it learned from, and those that neither it nor the network will see."""

    table: FeatureTable
    train: np.ndarray
    held_out: np.ndarray
    protocol: str
    head: SeedHead
    refitted: bool
    model: str


@says_nearest_argument
def finetune_head(
    seed_run: str = "best",
    unfreeze: int | str = 20,
    *,
    workspace: str | os.PathLike[str] = ".tlx",
    dataset: str | None = None,
    settings: Settings | None = None,
    average: bool = False,
    boundary_dtype: str = "auto",
    max_cache_gb: float = 10.0,
    engine: str | Engine = "auto",
    name: str | None = None,
    watch: Watch | None = None,
) -> FinetuneResult:
    """Fine-tune the top of a backbone, starting from a head, over cached activations.

    Parameters
    ----------
    seed_run : str, default="best"
        Run whose head the network starts from. ``"best"`` is the most accurate one that can.
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
    boundary_dtype : {"auto", "float16", "float32"}, default="auto"
        How activations at the cut are stored. ``"auto"`` is float16 unless the network's logits
        then differ from the head's by more than 1e-3, as they can with very small images.
    max_cache_gb : float, default=10
        The most they may take on disk, in units of 1e9 bytes.
    engine : {"auto", "openvino", "tensorflow"} or Engine, default="auto"
        What computes them.
    name : str, optional
        Of the new run.
    watch : Watch, optional
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
    watch, settings, workspace = watch or Watch(), settings or Settings(), Workspace(workspace)
    if boundary_dtype not in ("auto", *DTYPES):
        allowed = ", ".join(("auto", *DTYPES))
        raise FitError(f"boundary dtype {boundary_dtype!r} is unknown.", f"Use {allowed}.")
    check_name(workspace, name)
    devices = open_devices(settings.strategy, watch.tell)  # first of all, see there
    run = find_seed(workspace, seed_run, dataset)
    watch.tell(f"Using {run.describe()}.")
    problem = _prepare(workspace, run, settings.seed)
    if problem.refitted:
        watch.tell(f"The head is fitted again without the held-out images ({problem.protocol}).")
    spec = FeatureSpec.from_json(run.source["spec"])
    backbone = _backbone(run, spec)
    features = feature_model(backbone, spec)
    choice, probe = _choose(features, unfreeze, problem, spec, settings.seed, watch)
    watch.tell(f"Unfreeze {choice.text}: {choice.cut.parameters:,} weights are trained.")
    network = attach_head(features, choice.cut, problem.head)

    used = np.concatenate([problem.train, problem.held_out])
    dtypes = ("float16", "float32") if boundary_dtype == "auto" else (boundary_dtype,)
    for dtype in dtypes:
        boundary = Boundary(workspace, problem.table, backbone, spec, choice.cut, dtype, engine)
        boundary.check_space(boundary.missing(used), max_cache_gb * 1e9)
        reused = boundary.stored(used)
        try:
            parity = _check_seed(boundary, network, problem, used, spec)
            break
        except FitError as error:
            if dtype == dtypes[-1]:
                raise
            watch.tell(f"Activations are kept in float32: in float16 {error.cause}")
    _fill(boundary, used, devices, watch)

    start = [weight.numpy() for weight in network.top.trainable_variables]
    held_out = boundary.reader(problem.held_out)
    y = problem.table.y
    facts = {
        "boundary": boundary.spec.fingerprint,
        "settings": asdict(settings),
        "train": hashlib.sha256(problem.table.digest[problem.train].tobytes()).hexdigest(),
        "labels": hashlib.sha256(y[problem.train].tobytes()).hexdigest(),
        "held_out": hashlib.sha256(problem.table.digest[problem.held_out].tobytes()).hexdigest(),
    }
    devices.check_same(training_key(facts))
    key = training_key({**facts, "seed": problem.head.digest()})
    checkpoint = workspace.root / "finetune" / f"{key}.npz"
    if settings.strategy != "none":
        watch.tell(_devices_text(settings.strategy, devices.names))
    with devices.in_step():
        training = train(
            network.top,
            boundary.reader(problem.train),
            y[problem.train],
            held_out,
            y[problem.held_out],
            settings,
            devices=devices,
            checkpoint=checkpoint,
            on_epoch=watch.epoch,
        )
    point = None
    if average and training.best_epoch:
        point = average_weights(network.top, start, held_out, y[problem.held_out])
    groups = problem.table.groups[problem.held_out]
    tuned_logits = training.head_logits
    if training.best_epoch:
        tuned_logits = predict_logits(network.top, held_out)
    raw = {"head": softmax(training.head_logits), "finetuned": softmax(tuned_logits)}
    scored = {
        which: _score(y[problem.held_out], p, groups, run.info.seed) for which, p in raw.items()
    }
    verdict = judge(
        y[problem.held_out],
        scored["head"].proba,
        scored["finetuned"].proba,
        groups,
        (training.epochs[0].val_loss, scored["finetuned"].loss),
    )
    if verdict.kept == "head":
        for variable, value in zip(network.top.trainable_variables, start, strict=True):
            variable.assign(value)
    else:  # the head is calibrated already
        network.scale_logits(1 / scored["finetuned"].temperature)
    result = FinetuneResult(
        run=None,
        seed_run=run.id,
        choice=choice,
        probe=probe,
        boundary={
            "shape": list(choice.cut.shape),
            "bytes": len(used) * boundary.row_bytes,
            "reused": reused,
            "seconds": boundary.seconds,
        },
        parity=parity,
        training=training,
        devices=devices.names,
        average=point,
        protocol=problem.protocol,
        head=scored["head"].metrics,
        finetuned=scored["finetuned"].metrics,
        verdict=verdict,
        refitted=problem.refitted,
        seconds=time.perf_counter() - started,
    )
    if devices.worker == 0:
        result.run = _save(workspace, run, problem, network, spec, result, scored, settings, name)
        if not training.interrupted:
            checkpoint.unlink(missing_ok=True)
    result.seconds = time.perf_counter() - started
    return result


def find_seed(workspace: Workspace, seed_run: str, dataset: str | None = None) -> Run:
    """Return the run to start from; ``"best"`` is the best that can be a seed.

    Raises
    ------
    FitError
        If the run named cannot be one.
    DataError
        If there is no run that can.
    """
    if seed_run != "best":
        run = load_run(seed_run, workspace.root)
        if run.info.model not in SEEDS:
            tuned = run.info.model == MODEL
            origin = run.info.finetune.seed_run if run.info.finetune else "its seed run"
            raise FitError(
                f"run {run.id} is a {run.info.model} run: its head cannot become a layer."
                if not tuned
                else f"run {run.id} is fine-tuned already.",
                f"Heads that can: {', '.join(SEEDS)}."
                if not tuned
                else f"Start from {origin} again, with other options.",
            )
        return run
    try:
        return best_run(workspace, dataset, lambda run: run.info.model in SEEDS)
    except DataError as error:
        raise DataError(
            f"there is no run whose head could become a layer: {error.cause}",
            f"Run tlx fit-head --model logreg first (or another of {', '.join(SEEDS)}).",
        ) from error


def _prepare(workspace: Workspace, run: Run, seed: int) -> _Problem:
    """Decide which images are held out, and make sure that the head has not seen them."""
    table = load_table(workspace, run.info.dataset, run.source["fingerprint"])
    held = table.split == "validation"
    protocol = "validation split"
    if not held.any():
        folds = stratified_group_folds(table.y, table.groups, _INNER_FOLDS, seed, table.class_names)
        held = folds == 0
        protocol = f"held-out fifth, stratified, seed {seed}"
        table = replace(table, split=np.where(held, "validation", "train"))
    train, held_out = np.flatnonzero(~held), np.flatnonzero(held)
    learned = {row.tobytes() for row in run.predictions().trained_on}
    seen = any(table.digest[row].tobytes() in learned for row in held_out)
    model = run.info.model
    if not seen and run.class_names == table.class_names:
        return _Problem(
            table, train, held_out, protocol, seed_head(run.head(), model), False, model
        )
    recipe = run.info.recipe
    assert recipe is not None, "every head that can be a seed has one"
    fitted = replace(recipe, options=recipe.fixed).evaluate(table, run.info.seed)
    return _Problem(table, train, held_out, protocol, seed_head(fitted.head, model), True, model)


@dataclass
class _Scored:
    """What one of the two is worth.

    Probabilities are calibrated, each image's without it; temperature and loss are of all images.
    """

    proba: np.ndarray
    temperature: float
    loss: float
    metrics: dict[str, Metric]


def _score(y: np.ndarray, raw: np.ndarray, groups: np.ndarray, seed: int) -> _Scored:
    """Calibrate as heads are, each image by a temperature fitted without it, and score."""
    proba, temperature = cross_calibrate(y, raw, np.zeros(len(y), int), groups, seed)
    metrics = {
        **score(y, proba, groups),
        "ece_raw": calibration_error(y, raw, groups),
        "ece": calibration_error(y, proba, groups),
    }
    own = apply_temperature(raw, temperature)[np.arange(len(y)), y]
    loss = float(image_loss(own).mean())
    return _Scored(proba, temperature, loss, metrics)


def _backbone(run: Run, spec: FeatureSpec) -> Backbone:
    backbone = get_backbone(spec.backbone, run.source["weights"])
    if backbone.weights_digest != spec.weights:
        raise WeightsError(
            f"the weights of {spec.backbone} here are not those of run {run.id}: "
            f"{backbone.weights_digest[:12]} instead of {spec.weights[:12]}.",
            "Install the version of the weights that it was trained with, or embed again.",
        )
    return backbone


def _choose(
    features: Any,
    unfreeze: int | str,
    problem: _Problem,
    spec: FeatureSpec,
    seed: int,
    watch: Watch,
) -> tuple[Choice, list[ProbeRow]]:
    if str(unfreeze).strip() != "auto":
        return choose_cut(features, unfreeze), []
    choice, rows = choose_by_probe(
        features, problem.table, problem.train, spec, seed, watch.progress
    )
    watch.probe(rows)
    return choice, rows


def _check_seed(
    boundary: Boundary,
    network: SeededNetwork,
    problem: _Problem,
    used: np.ndarray,
    spec: FeatureSpec,
) -> float:
    """Check on the first few images that the network begins as the head; return the parity."""
    first = used[:PARITY_IMAGES]
    boundary.compute(boundary.missing(first))
    return check_parity(
        network.top,
        boundary.reader(first).read(range(len(first))),
        problem.head,
        problem.table.X[first],
        spec.precision == "bfloat16",
    )


def _fill(boundary: Boundary, used: np.ndarray, devices: Devices, watch: Watch) -> None:
    """Compute the activations that are missing, after telling what that takes.

    Each worker takes its part; what is then still missing, for want of a shared workspace, it
    computes too.
    """

    def compute(rows: list[int]) -> None:
        if rows:
            watch.tell(
                f"Activations of {len(rows)} images at the cut: "
                f"{len(rows) * boundary.row_bytes / 1e6:,.0f} MB, "
                f"about {boundary.estimate(rows):.0f} s."
            )
            boundary.compute(rows, watch.progress)

    missing = boundary.missing(used)
    devices.gather(0)  # all see the same ones missing
    compute(missing[devices.worker :: devices.workers])
    devices.gather(0)
    compute(boundary.missing(used))


def _devices_text(strategy: str, devices: list[str]) -> str:
    if len(devices) > 1:
        return f"Training runs on {len(devices)} devices: {', '.join(devices)}."
    return f"Training runs on {devices[0]} alone: {strategy} has no other device to use here."


def _save(
    workspace: Workspace,
    seed_run: Run,
    problem: _Problem,
    network: SeededNetwork,
    spec: FeatureSpec,
    result: FinetuneResult,
    scored: dict[str, _Scored],
    settings: Settings,
    name: str | None,
) -> Run:
    """Write the run: the whole model, its last layer as a linear head, and the numbers.

    The predictor of a run is a head over features. For a fine-tuned network the features are the
    embeddings of ``model.keras`` and the head is its last layer, so that everything that takes a
    run takes this one, and any engine runs it.
    """
    table, kept = problem.table, result.verdict.kept
    note = {
        "class_names": list(table.class_names),
        "image_size": spec.image_size,
        "fit": spec.fit,
        "interpolation": spec.interpolation,
        "dataset": table.dataset,
        "seed_run": seed_run.id,
        "kept": kept,
    }
    data = model_bytes(whole_model(network), note)
    source = seed_run.source
    arrays = [tuple(layer.get_weights()) for layer in network.classifier]
    head: Any = LinearPredictor(*arrays[0]) if len(arrays) == 1 else DensePredictor(tuple(arrays))
    if kept == "finetuned":
        tuned = replace(
            spec,
            backbone=f"keras:{MODEL_FILE}",
            weights=hashlib.sha256(data).hexdigest(),
            preprocessing="included",
            layer=embedding_layer(network),
            pooling="avg",
        )
        source = {"fingerprint": tuned.fingerprint, "spec": tuned.json, "weights": MODEL_FILE}
    rows = problem.held_out
    y, p = table.y[rows], scored[kept].proba
    predictions = Predictions(
        path=[table.path[row] for row in rows],
        digest=table.digest[rows],
        label=y,
        fold=np.zeros(len(rows), np.int32),
        group=table.groups[rows],
        probabilities=p,
        trained_on=table.digest[problem.train],
    )
    report = {k: v for k, v in result.as_dict().items() if k not in ("run", "seconds")}
    info = RunInfo(
        model=MODEL,
        dataset=table.dataset,
        root=table.root,
        sources=[source],
        class_names=table.class_names,
        protocol=problem.protocol,
        n=len(rows),
        metrics=result.finetuned if kept == "finetuned" else result.head,
        confusion=confusion_matrix(y, p.argmax(axis=1), len(table.class_names)).tolist(),
        params={"unfreeze": result.choice.requested, "kept": kept, **asdict(settings)},
        seed=settings.seed,
        seconds=result.seconds,
        trained_on=len(problem.train),
        finetune=Finetuning(seed_run.id, kept, report),  # its temperature is in the last layer
    )
    return save_run(workspace, info, {**head.parts(), MODEL_FILE: data}, predictions, name)


def _plain(metrics: dict[str, Metric]) -> dict[str, dict[str, float]]:
    return {name: asdict(metric) for name, metric in metrics.items()}
