"""A run leaves: written aside, proven to say what the run says, then given its name."""

from __future__ import annotations

import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING

from .._version import __version__
from ..arguments import says_nearest_argument
from ..cache.files import fsync_folder, make_folder, owner, storage_error
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
from .predictor import NAME, RULES, Predictor, digest_of, files_of, read_predictor

if TYPE_CHECKING:
    import keras

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
        If the file does not say what the run says; where the difference begins is said.

    Examples
    --------
    >>> import tlx
    >>> done = tlx.export_run(tlx.fit_head("logreg"), "keras", "leaving")
    >>> done.path.name, done.parity.labels_equal
    ('model.keras', True)
    """
    kind = get_format(format)
    kind.require()
    if runtime is not None and not kind.takes_runtime:
        raise DataError(f"format {format} takes no runtime.", "Leave out --runtime.")
    run = load_run(run, workspace) if isinstance(run, str) else run
    target = _target(run, kind, output)
    target.check(overwrite)
    images = check_images(run, Workspace(workspace), None if check is None else Path(check))
    steps = 4
    progress(0, steps)
    network = run_network(run)
    expected = reference(run, images)
    progress(1, steps)
    with _aside(target.folder) as folder:
        predictor = _predictor(run, kind, target.name, network, "float32")
        order = Order(
            predictor.note,
            runtime=None if runtime is None else Path(runtime),
        )
        _write(kind, network, folder / target.name, order)
        progress(2, steps)
        files = files_of(folder)
        predictor = replace(predictor, files=files, sha256=digest_of(folder, files))
        (folder / NAME).write_bytes(predictor.to_json())
        parity = compare(expected.probabilities, probabilities_apart(folder, expected.files))
        if not parity.good:
            raise _differs(kind, parity, network, expected, order)
        progress(3, steps)
        predictor = replace(predictor, parity=asdict(parity))
        (folder / NAME).write_bytes(predictor.to_json())
        size = sum((folder / name).stat().st_size for name in files)
        target.take(folder, overwrite)
    progress(4, steps)
    return Export(target.folder / target.name, target.folder / NAME, size, predictor, parity)


@dataclass(frozen=True)
class _Target:
    """Where an export goes: a folder of its own, or a file with ``predictor.json`` beside it."""

    folder: Path
    name: str
    own_folder: bool

    def check(self, overwrite: bool) -> None:
        """Refuse a place that is taken, or that holds what is no export.

        Raises
        ------
        DataError
        """
        there = [self.folder] if self.own_folder else [self.folder / self.name, self.folder / NAME]
        taken = [path for path in there if path.exists() or path.is_symlink()]
        if not taken:
            return
        if not overwrite:
            raise DataError(
                f"{taken[0]} is there already.", "Name another --output, or add --force."
            )
        if self.own_folder:
            self._require_export()

    def _require_export(self) -> None:
        """Refuse to replace a folder that holds anything but an export."""
        inside = {path.name for path in self.folder.iterdir()} if self.folder.is_dir() else None
        known: set[str] = set()
        if inside and NAME in inside:
            known = {
                NAME,
                *(file.split("/")[0] for file in read_predictor(self.folder / NAME).files),
            }
        if inside is None or inside - known:
            raise DataError(
                f"{self.folder} is no export, or has other files in it; it is not replaced.",
                "Name another --output.",
            )

    def take(self, made: Path, overwrite: bool) -> None:
        """Give a finished folder its name, or its files theirs, ``predictor.json`` last."""
        try:
            if self.own_folder:
                old = made.with_name(f"{made.name}.old")
                if overwrite and self.folder.exists():
                    self.folder.rename(old)
                made.rename(self.folder)
                shutil.rmtree(old, ignore_errors=True)
            else:
                for path in sorted(made.iterdir(), key=lambda path: path.name == NAME):
                    path.replace(self.folder / path.name)
                made.rmdir()
            fsync_folder(self.folder.parent if self.own_folder else self.folder)
        except OSError as error:
            raise storage_error(error, self.folder) from error


def _target(run: Run, kind: Format, output: str | os.PathLike[str] | None) -> _Target:
    if output is None:
        return _Target(Path(f"{run.id}-{kind.name}"), kind.file, True)
    path = Path(output)
    if kind.suffix and path.suffix.lower() == kind.suffix:
        return _Target(path.parent, path.name, False)
    return _Target(path, kind.file, True)


@contextmanager
def _aside(folder: Path) -> Iterator[Path]:
    """Make a folder beside the place where it is to be; whatever happens, it is gone afterwards.

    Raises
    ------
    StorageError
        If it cannot be written there.
    """
    place = folder.parent if folder.name else folder
    made = place / f".{folder.name[:32]}.{owner()}.{secrets.token_hex(4)}.tmp"
    try:
        make_folder(place.absolute())
        made.mkdir()
        yield made
    except OSError as error:
        if isinstance(error, TlxError):
            raise
        raise storage_error(error, folder) from error
    finally:
        shutil.rmtree(made, ignore_errors=True)


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
        parity={"images": 0, "largest_difference": None, "labels_equal": False},
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
