"""``tlx finetune``: train the top of the backbone; keep it if better beyond chance, or as asked."""

from __future__ import annotations

from contextlib import ExitStack
from textwrap import fill
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from .common import (
    DEFAULT_WORKSPACE,
    DatasetOption,
    EngineOption,
    JsonOption,
    SeedOption,
    WorkspaceOption,
    emit,
    next_command,
    note,
    resumable,
    say,
)
from .progress import progress
from .render import METRIC_NAMES, table

if TYPE_CHECKING:
    from ..classify.scoring.paired import Difference
    from ..finetune.probe import ProbeRow
    from ..finetune.result import FinetuneResult
    from ..finetune.settings import Epoch

_BASIS = (
    "(The table has each image by an epoch and a temperature that were chosen without\n"
    "it; the network as it would be kept has the best epoch on all of them.)"
)
_BASIS_OF_FOLDS = (
    "(The table has each image by a head and a network that did not learn from it, at\n"
    "an epoch and a temperature chosen by other folds; what is kept learned from all.)"
)


def finetune(
    run: Annotated[
        str,
        typer.Argument(
            metavar="RUN",
            help="Run whose head to start from; 'best' is the best that can: of the runs that "
            "learned from all training images, the one with the lowest log loss.",
        ),
    ] = "best",
    unfreeze: Annotated[
        str,
        typer.Option(
            help="How many layers to train, the name of the first layer or block to train, 'all', "
            "or 'auto' to have the place chosen by a linear probe."
        ),
    ] = "20",
    epochs: Annotated[int, typer.Option(help="At most so many passes over the images.")] = 10,
    lr: Annotated[float, typer.Option(help="Peak learning rate of AdamW.")] = 1e-4,
    batch_size: Annotated[int, typer.Option(help="Images a step.")] = 32,
    patience: Annotated[
        int, typer.Option(help="Stop after so many epochs without a lower validation loss.")
    ] = 3,
    weight_decay: Annotated[
        float, typer.Option(help="Decoupled weight decay of kernels; biases and norms have none.")
    ] = 1e-2,
    label_smoothing: Annotated[
        float, typer.Option(help="Share of each label that is spread over all classes.")
    ] = 0.0,
    class_weight: Annotated[
        str | None,
        typer.Option(help="'balanced' weighs each class alike, however many images it has."),
    ] = None,
    average: Annotated[
        bool,
        typer.Option(
            "--average",
            help="Take the best point on the line between the weights before and after.",
        ),
    ] = False,
    folds: Annotated[
        int | None,
        typer.Option(
            help="Without a validation split: hold each of so many folds out once, not one fifth, "
            "and train a network that is kept on all images. So many trainings and one more."
        ),
    ] = None,
    keep: Annotated[
        Literal["better", "finetuned", "head"],
        typer.Option(
            help="'better' keeps the fine-tuned network if it is better beyond chance, else the "
            "head; 'finetuned' or 'head' keeps that one, whatever is better."
        ),
    ] = "better",
    boundary_dtype: Annotated[
        str, typer.Option(help="How activations at the cut are stored: auto, float16 or float32.")
    ] = "auto",
    max_cache_gb: Annotated[
        float, typer.Option(help="The most that these may take on disk, in gigabytes.")
    ] = 10.0,
    strategy: Annotated[
        Literal["none", "mirrored"],
        typer.Option(
            help="'mirrored' trains on all GPUs of this machine at once; with TF_CONFIG set, on "
            "those of all the machines it names, each of which runs this command."
        ),
    ] = "none",
    engine: EngineOption = "auto",
    name: Annotated[str | None, typer.Option(help="Name of the new run.")] = None,
    dataset: DatasetOption = None,
    seed: SeedOption = 0,
    workspace: WorkspaceOption = DEFAULT_WORKSPACE,
    as_json: JsonOption = False,
) -> None:
    """Train the top of the backbone from a head, and keep it if better beyond chance, or as asked.

    What is below the cut stays frozen: its activations are computed once and cached, and epochs run
    over the top only. Head and fine-tuned network are compared on the same held-out images.
    Ctrl-C ends with the epochs so far (with --folds without a run); the same command goes on from
    there, after a kill too.
    """
    from ..finetune.api import Callbacks, finetune_head
    from ..finetune.settings import Settings

    settings = Settings(
        epochs=epochs,
        lr=lr,
        batch_size=batch_size,
        patience=patience,
        weight_decay=weight_decay,
        label_smoothing=label_smoothing,
        class_weight=class_weight,
        seed=seed,
        strategy=strategy,
    )
    with resumable(), ExitStack() as stack:
        callbacks = Callbacks(
            log=note,
            probe=lambda rows: note(probe_table(rows)),
            progress=_Progress(stack),
            epoch=lambda epoch, left: note(epoch_line(epoch, left, settings.epochs)),
        )
        result = finetune_head(
            run,
            unfreeze,
            workspace=workspace,
            dataset=dataset,
            settings=settings,
            average=average,
            folds=folds,
            keep=keep,
            boundary_dtype=boundary_dtype,
            max_cache_gb=max_cache_gb,
            engine=engine,
            name=name,
            callbacks=callbacks,
        )
    emit(result.as_dict()) if as_json else say(as_text(result))
    if result.training.interrupted:
        kept = "the run is of the epochs so far" if result.run else "all workers stop"
        note(f"Interrupted: {kept}. The same command goes on from here.")
        raise typer.Exit(130)


def epoch_line(epoch: Epoch, left: float, epochs: int) -> str:
    """Return one line about an epoch."""
    mark = "  *" if epoch.best and epoch.epoch else ""
    validation = f"validation loss {_loss(epoch.val_loss)}, accuracy {epoch.val_accuracy:.4f}"
    if epoch.train_loss is None:
        return f"epoch 0 (the head)  {validation}"
    ahead = f", at most {left:.0f} s left" if left else ""
    return (
        f"epoch {epoch.epoch}/{epochs}  train loss {_loss(epoch.train_loss)}, {validation}, "
        f"{epoch.seconds:.1f} s{ahead}{mark}"
    )


def _loss(value: float) -> str:
    return f"{value:.4f}" if value < 1e4 else f"{value:.3g}"


def probe_table(rows: list[ProbeRow]) -> str:
    """Return the table behind the choice of ``--unfreeze auto``."""
    cells = [
        [
            row.cut,
            row.layers,
            f"{row.log_loss:.4f} ± {row.error:.4f}",
            f"{row.accuracy:.4f}",
            "<- chosen" if row.chosen else "",
        ]
        for row in rows
    ]
    return table(["cut at", "layers above", "log loss of a linear head", "accuracy", ""], cells)


def as_text(result: FinetuneResult) -> str:
    """Return what a person wants to read."""
    verdict, training = result.verdict, result.training
    names = [name for name in result.head if name != "ece_raw"]  # that of before calibration
    rows = [
        [METRIC_NAMES.get(name, name), str(result.head[name]), str(result.finetuned[name])]
        for name in names
    ]
    trained = bool(training.best_epoch)
    lines = [
        f"unfreeze {result.choice.text}; fine-tuned: epoch {training.best_epoch} of "
        f"{len(training.epochs) - 1}"
        + (f", averaged at {result.average:g}" if result.average is not None else ""),
        "",
        table([f"{verdict.n} images ({result.protocol})", "head", "fine-tuned"], rows),
        "",
    ]
    if trained:
        lines += _differences(result)
    kept = "fine-tuned network" if verdict.kept == "finetuned" else "head"
    asked = ", as asked" if trained and (verdict.kept == "finetuned") != verdict.better else ""
    lines += [fill(f"Kept: the {kept}{asked}. {result.untrained or verdict.why}", 80)]
    if trained:
        lines += [_BASIS_OF_FOLDS if result.folds else _BASIS]
    lines.append("")
    if result.run is None:
        return "\n".join([*lines, "The run is with the first worker."])
    lines.append(f"run {result.run.id} in {result.run.folder} ({result.seconds:.1f} s)")
    return "\n".join([*lines, next_command("tlx predict {} PHOTO.jpg", result.run.id)])


def _differences(result: FinetuneResult) -> list[str]:
    """Return what fine-tuning changed, and whether that may be chance."""
    verdict = result.verdict
    points, low, high = (
        100 * value
        for value in (verdict.accuracy.value, verdict.accuracy.low, verdict.accuracy.high)
    )
    loss = verdict.log_loss
    accuracy = (
        f"accuracy {points:+.1f} points ({low:+.1f} to {high:+.1f}), {verdict.gained} images "
        f"gained and {verdict.lost} lost: {_chance(verdict.accuracy)}"
    )
    return [
        fill(accuracy, 80),
        f"log loss {loss.value:+.4f} ({loss.low:+.4f} to {loss.high:+.4f}): {_chance(loss)}",
        "",
    ]


def _chance(difference: Difference) -> str:
    from ..finetune.verdict import by_chance

    where = "within" if by_chance(difference) else "beyond"
    return f"{where} chance (p = {difference.p_value:.2g})"


class _Progress:
    """A progress display that begins with the first image and ends with the last."""

    def __init__(self, stack: ExitStack) -> None:
        self._stack = stack
        self._show: Any = None

    def __call__(self, done: int, total: int) -> None:
        self._show = self._show or self._stack.enter_context(progress("Activations"))
        self._show(done, total)
        if done == total:
            self._stack.close()
            self._show = None
