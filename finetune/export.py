"""The run that is kept, and in it a file that needs no tlx: uint8 pixels in, probabilities out."""

from __future__ import annotations

import hashlib
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from ..cache.spec import FeatureSpec
from ..classify.duplicates import are_grouped
from ..classify.heads.dense import DensePredictor
from ..classify.heads.linear import LinearPredictor
from ..classify.runs.neighbours import NEIGHBOURS, neighbours_bytes
from ..classify.runs.predictions import EPOCHS, Predictions, epochs_bytes
from ..classify.runs.prior import learned_prior, run_prior
from ..classify.runs.run import Finetuning, Run, RunInfo
from ..classify.runs.store import save_run
from ..classify.scoring.metrics import confusion_matrix
from ..classify.strangers import find_neighbours
from ..deploy.formats.keras import model_bytes
from ..deploy.network import assemble
from ..workspace import Workspace
from .prepare import MODEL, HeldOut
from .result import FinetuneResult
from .seed import SeededNetwork
from .settings import Settings

if TYPE_CHECKING:
    import keras

MODEL_FILE: Final = "model.keras"


def whole_model(network: SeededNetwork) -> keras.Model:
    """Return the network as one flat model of Keras's own layers.

    Returns
    -------
    keras.Model
        uint8 pixels (B, S, S, 3) to probabilities (B, C) float32. It shares its layers with
        `network`.
    """
    return assemble(
        [(network.features, [network.features.outputs[0]], [0])], network.classifier, "finetuned"
    )


def embedding_layer(network: SeededNetwork) -> str:
    """Return the name of the layer whose output is the embedding."""
    return network.features.outputs[0]._keras_history.operation.name


def save_network(
    workspace: Workspace,
    network: SeededNetwork,
    seed_run: Run,
    held: HeldOut,
    proba: np.ndarray,
    result: FinetuneResult,
    settings: Settings,
    name: str | None = None,
    *,
    replaces: bool = False,
) -> Run:
    """Write the run: the whole model, its last layer as a head over its embeddings, the numbers.

    The predictor of a run is a head over features. For a fine-tuned network the features are the
    embeddings of ``model.keras`` and the head is its last layer, so that everything that takes a
    run takes this one, and any engine runs it.

    Parameters
    ----------
    workspace : Workspace
    network : SeededNetwork
        What is kept, calibrated.
    seed_run : Run
    held : HeldOut
    proba : ndarray of shape (M, C)
        Of the held-out images, each by an epoch and a temperature chosen without it.
    result : FinetuneResult
    settings : Settings
    name : str, optional
    replaces : bool, default=False
        Take the place of the run that has the name.
    """
    table, rows, kept = held.table, held.rows, result.verdict.kept
    spec = FeatureSpec.from_json(seed_run.source["spec"])
    data = model_bytes(whole_model(network), _note(spec, held, result))
    arrays = [tuple(layer.get_weights()) for layer in network.classifier]
    head: Any = LinearPredictor(*arrays[0]) if len(arrays) == 1 else DensePredictor(tuple(arrays))
    tuned = kept == "finetuned"
    source = _own_source(spec, network, data) if tuned else seed_run.source
    trained_on, prior = _learned(seed_run, held, settings, tuned)
    predictions = Predictions(
        path=[table.paths[row] for row in rows],
        digest=table.digest[rows],
        label=held.y,
        fold=held.fold,
        group=held.groups,
        probabilities=proba,
        trained_on=trained_on,
    )
    folds = {"folds": len(result.folds)} if result.folds else {}
    near = seed_run.info.near_duplicates
    report = {k: v for k, v in result.as_dict().items() if k not in ("run", "seconds")}
    info = RunInfo(
        model=MODEL,
        dataset=table.dataset,
        root=table.root,
        sources=[source],
        class_names=table.class_names,
        protocol=held.protocol,
        n=len(rows),
        metrics=result.finetuned if tuned else result.head,
        confusion=confusion_matrix(held.y, proba.argmax(axis=1), len(table.class_names)).tolist(),
        params={"unfreeze": result.choice.requested, "kept": kept, **folds, **asdict(settings)},
        seed=seed_run.info.seed if folds else settings.seed,  # that dealt the folds
        seconds=result.seconds,
        trained_on=len(trained_on),
        prior=prior,
        near_duplicates=near if are_grouped(near) else None,  # then 0 are across
        finetune=Finetuning(seed_run.id, kept, report),  # its temperature is in the last layer
    )
    parts = {**head.parts(), MODEL_FILE: data, EPOCHS: epochs_bytes(result.training.logits)}
    if not tuned:  # a network gives images other embeddings, and those that it learned from best
        parts |= _neighbours(held, trained_on)
    return save_run(workspace, info, parts, predictions, name, replaces=replaces)


def _learned(
    seed_run: Run, held: HeldOut, settings: Settings, tuned: bool
) -> tuple[np.ndarray, list[float]]:
    """Return the digests that what is kept learned from, and the prior that it has from them.

    A head that was not fitted again learned what its run tells, which may be a few of the images.
    """
    if not tuned and not held.refitted:
        return seed_run.predictions().trained_on, run_prior(seed_run).tolist()
    table, before = held.table, seed_run.info
    learner = (MODEL, asdict(settings)) if tuned else (before.model, before.params)
    prior = learned_prior(table.y[held.train], len(table.class_names), *learner)
    return table.digest[held.train], prior


def _neighbours(held: HeldOut, trained_on: np.ndarray) -> dict[str, bytes]:
    """Return what tells strangers among the frozen embeddings, as a part of the run."""
    table, digests = held.table, set(map(bytes, trained_on))
    learned = np.flatnonzero([bytes(digest) in digests for digest in table.digest])
    if not len(learned):
        return {}
    found = find_neighbours(table.X, table.y, table.groups, learned, held.rows)
    return {NEIGHBOURS: neighbours_bytes(found)}


def _note(spec: FeatureSpec, held: HeldOut, result: FinetuneResult) -> dict[str, Any]:
    """Return what one needs to know who has ``model.keras`` alone."""
    return {
        "class_names": list(held.table.class_names),
        "image_size": spec.image_size,
        "fit": spec.fit,
        "interpolation": spec.interpolation,
        "dataset": held.table.dataset,
        "seed_run": result.seed_run,
        "kept": result.verdict.kept,
    }


def _own_source(spec: FeatureSpec, network: SeededNetwork, data: bytes) -> dict[str, str]:
    """Return the source of a run whose backbone is its own ``model.keras``."""
    tuned = replace(
        spec,
        backbone=f"keras:{MODEL_FILE}",
        weights=hashlib.sha256(data).hexdigest(),
        preprocessing="included",
        layer=embedding_layer(network),
        pooling="avg",
    )
    return {"fingerprint": tuned.fingerprint, "spec": tuned.json, "weights": MODEL_FILE}
