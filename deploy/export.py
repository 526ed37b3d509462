"""A run leaves: written aside, proven to say what the run says, then given its name."""

from __future__ import annotations

import os
from dataclasses import asdict, dataclass, replace
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING

from .._version import __version__
from ..arguments import says_nearest_argument
from ..cache.spec import FeatureSpec
from ..classify.runs.best import load_run
from ..classify.runs.run import Run
from ..classify.scoring.calibrate import choose_threshold
from ..embed.images import DECODER_REVISION
from ..errors import DataError, FitError, TlxError
from ..progress import Progress, silent
from ..workspace import Workspace
from .formats.format import OUTPUT, Format, Order
from .formats.registry import get_format
from .network import input_spec, run_network
from .parity import (
    TOLERANCE,
    Parity,
    Reference,
    check_images,
    compare,
    probabilities_apart,
    reference,
    where_it_begins,
)
from .place import aside, choose_place
from .precision import ALLOWED, AccuracyChange, accuracy_change, calibration_pixels, held_out
from .predictor import NAME, RULES, Predictor, digest_of, files_of

if TYPE_CHECKING:
    import keras

EXACT = "float32"  # the precision that is to say the very same
_STEPS = 4
_ERRORS = (0.01, 0.02, 0.05, 0.1)  # for which a threshold is noted, where one can be promised


class ParityError(TlxError, ValueError):
    """A written file that does not say what its run says."""


@dataclass(frozen=True)
class Export:
    """What was written.

    Attributes
    ----------
    path : Path
        The network's file or folder.
    predictor_path : Path
        Of ``predictor.json``, beside it.
    bytes : int
        Of all files of the network.
    predictor : Predictor
    parity : Parity
    """

    path: Path
    predictor_path: Path
    bytes: int
    predictor: Predictor
    parity: Parity


@says_nearest_argument
def export_run(
    run: Run | str,
    format: str = "onnx",
    output: str | os.PathLike[str] | None = None,
    *,
    workspace: str | os.PathLike[str] = ".tlx",
    precision: str = EXACT,
    accept_loss: bool = False,
    check: str | os.PathLike[str] | None = None,
    runtime: str | os.PathLike[str] | None = None,
    overwrite: bool = False,
    progress: Progress = silent,
) -> Export:
    """Write a run as one network in a format of its own, with ``predictor.json`` beside it.

    The written file is opened in a fresh process, by its own runtime, and compared with the run on
    64 real images, from the photo to the probabilities. Unless every label is equal and no
    probability differs by more than 1e-4, nothing is left behind.

    Parameters
    ----------
    run : Run or str
        An id, the folder of a run, or ``"best"``.
    format : str, default="onnx"
        One of `tlx.deploy.formats.registry.formats`.
    output : path, optional
        The folder to write, by default ``RUN-FORMAT`` here; or the network's file, with the suffix
        of the format, and ``predictor.json`` is then written into the same folder.
    workspace : path, default=".tlx"
    precision : {"float32", "float16", "int8"}, default="float32"
        Of the weights, where the format has it; ``"int8"`` is calibrated by 200 training images.
        Such a network gives other probabilities. So it is judged by its accuracy on the images that
        the run was scored on, and refused where it loses more than one point beyond chance.
    accept_loss : bool, default=False
        Keep it nevertheless.
    check : path, optional
        Folder of images to compare on; by default images of the run's data set.
    runtime : path, optional
        Folder of a runtime that is copied beside the network, where the format takes one.
    overwrite : bool, default=False
        Take the place of an export that is there.
    progress : callable, optional
        Called with the number of steps done and their total.

    Returns
    -------
    Export

    Raises
    ------
    MissingExtraError
        If what the format needs is not installed; before any work.
    DataError
        If the run is no single network, `output` is there already, or there are no images.
    ParityError
        If the file does not say what the run says; where the difference begins is said. Or if it
        loses too much of the accuracy.

    Examples
    --------
    >>> import tlx
    >>> done = tlx.export_run(tlx.fit_head("logreg"), "keras", "leaving")
    >>> done.path.name, done.parity.labels_equal
    ('model.keras', True)
    """
    kind, exact = get_format(format), precision == EXACT
    kind.require(precision)
    if runtime is not None:
        if kind.check_runtime is None:
            raise DataError(f"format {format} takes no runtime.", "Leave out --runtime.")
        kind.check_runtime(Path(runtime))
    if check is not None and not exact:
        raise DataError(
            f"{precision} is judged by its accuracy on held-out images, whose labels are known.",
            "Leave out --check.",
        )
    workspace = Workspace(workspace)
    run = load_run(run, workspace) if isinstance(run, str) else run
    place = choose_place(run.id if exact else f"{run.id}-{precision}", kind, output)
    place.check(overwrite)
    held = None if exact else held_out(run, workspace)
    images = held.files if held else check_images(run, workspace, _path(check))
    calibration = calibration_pixels(run, workspace) if precision == "int8" else None
    progress(0, _STEPS)
    network = run_network(run)
    expected = reference(run, images)
    progress(1, _STEPS)
    with aside(place) as folder:
        predictor = _predictor(run, kind, place.name, network, precision)
        order = Order(predictor.note, precision, calibration, _path(runtime))
        _write(kind, network, folder / place.name, order)
        progress(2, _STEPS)
        files = files_of(folder)
        predictor = replace(predictor, files=files, sha256=digest_of(folder, files))
        (folder / NAME).write_bytes(predictor.to_json())
        found = probabilities_apart(folder, expected.files)
        parity = compare(expected.probabilities, found)
        if held is not None:
            change = accuracy_change(held, expected, found)
            parity = replace(parity, accuracy=asdict(change))
            if not (change.good or accept_loss):
                raise _loses(kind, precision, change)
        elif not parity.good:
            raise _differs(kind, parity, network, expected, order)
        progress(3, _STEPS)
        predictor = replace(predictor, parity=parity.as_dict())
        (folder / NAME).write_bytes(predictor.to_json())
        size = sum((folder / name).stat().st_size for name in files)
        place.take(folder, overwrite)
    progress(_STEPS, _STEPS)
    return Export(place.folder / place.name, place.folder / NAME, size, predictor, parity)


def _path(given: str | os.PathLike[str] | None) -> Path | None:
    return None if given is None else Path(given)


def _write(kind: Format, network: keras.Model, path: Path, order: Order) -> None:
    """Write a network; what a converter of foreign graphs may raise is told in a line.

    Raises
    ------
    TlxError
    """
    try:
        kind.write(network, path, order)
    except (TlxError, OSError, MemoryError):
        raise
    except Exception as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise TlxError(
            f"the network cannot be written as {kind.name}: {reason[:300]}", "Use another --format."
        ) from error


def _predictor(
    run: Run, kind: Format, file: str, network: keras.Model, precision: str
) -> Predictor:
    """Return what is known of the network before it is written."""
    info, spec = run.info, input_spec(run)
    accuracy = info.metrics["accuracy"]
    S, C = spec.image_size, len(run.class_names)
    return Predictor(
        tlx=__version__,
        format=kind.name,
        precision=precision,
        file=file,
        sha256="",
        files=[],
        run=run.id,
        model=info.model,
        dataset=info.dataset,
        fingerprint="+".join(source["fingerprint"] for source in info.sources),
        spec=[asdict(FeatureSpec.from_json(source["spec"])) for source in info.sources],
        class_names=run.class_names,
        image_size=S,
        fit=spec.fit,
        interpolation=spec.interpolation,
        decoding={"revision": DECODER_REVISION, "rules": list(RULES)},
        input={"name": network.inputs[0].name, "dtype": "uint8", "shape": [None, S, S, 3]},
        output={"name": OUTPUT, "shape": [None, C]},
        temperature=info.temperature,
        accuracy={"value": accuracy.value, "low": accuracy.low, "high": accuracy.high},
        rejection=_thresholds(run),
        parity={"images": 0, "largest_difference": 0.0, "labels_equal": False},
        created=datetime.now(timezone.utc).isoformat(timespec="seconds"),
    )


def _thresholds(run: Run) -> list[dict[str, object]]:
    """Return the confidences above which few predictions are wrong, for errors one asks for.

    Unlike the run the file does not tell strangers, so none are left out here.
    """
    scored, found = run.predictions(), []
    for error in _ERRORS:
        try:
            told = choose_threshold(scored.label, scored.probabilities, scored.group, error)
        except FitError:
            continue
        found.append(asdict(told))
    return found


def _differs(
    kind: Format, parity: Parity, network: keras.Model, expected: Reference, order: Order
) -> ParityError:
    """Return the error of a file that does not say what its run says."""
    where = where_it_begins(kind, network, expected, order)
    labels = "every label equal" if parity.labels_equal else "labels differ"
    return ParityError(
        f"the {kind.name} file differs from the run by {parity.largest_difference:.1e} in a "
        f"probability ({TOLERANCE:g} is allowed), {labels}; {where}. Nothing was kept.",
        "Use another --format, and report this one.",
    )


def _loses(kind: Format, precision: str, change: AccuracyChange) -> ParityError:
    """Return the error of a network that loses too much of the accuracy."""
    return ParityError(
        f"the {kind.name} file in {precision} loses {-100 * change.value:.1f} points of accuracy "
        f"({-100 * change.high:.1f} to {-100 * change.low:.1f}) on {change.images} held-out "
        f"images; more than {100 * ALLOWED:g} beyond chance is not kept.",
        "Use --precision float32 or float16; or keep it all the same with --accept-loss.",
    )
