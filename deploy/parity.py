"""Whether a written file says what its run says: opened apart, on real images, the whole path."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from ..cache.spec import FeatureSpec
from ..classify.predict import find_images
from ..classify.runs.backbone import run_backbone
from ..classify.runs.run import Run
from ..embed.engines.registry import load_engine
from ..embed.extract import Target, extract_all
from ..embed.images import decode_image
from ..errors import DataError, TlxError
from ..lazy_imports import import_keras
from ..workspace import Workspace
from .exported import open_exported
from .formats.format import Format, Order
from .network import EMBEDDING

if TYPE_CHECKING:
    import keras

IMAGES: Final = 64
TOLERANCE: Final = 1e-4  # of a probability
_SECONDS: Final = 1800  # for a child, at most
_START: Final = f"""import sys
sys.path[:] = sys.argv.pop(1).split("\\n")
from {__name__} import main
main(*sys.argv[1:])"""


@dataclass(frozen=True)
class Parity:
    """How a file was compared with its run.

    Attributes
    ----------
    images : int
        Real ones, decoded by each side for itself.
    largest_difference : float
        Of any probability.
    labels_equal : bool
        Whether all images have the same most probable class.
    accuracy : dict or None
        Of fewer digits than float32 what that does to the accuracy on held-out images: ``value``,
        ``low``, ``high`` and ``images``.
    """

    images: int
    largest_difference: float
    labels_equal: bool
    accuracy: dict[str, float] | None = None

    def as_dict(self) -> dict[str, Any]:
        """Return the object of ``predictor.json``; nothing in it stands for "no number"."""
        found = {
            **asdict(self),
            "largest_difference": self.largest_difference
            if np.isfinite(self.largest_difference)
            else None,
        }
        return found if self.accuracy else {k: v for k, v in found.items() if k != "accuracy"}

    @property
    def good(self) -> bool:
        """Whether they say the same."""
        return self.labels_equal and self.largest_difference <= TOLERANCE


def compare(ours: np.ndarray, theirs: np.ndarray) -> Parity:
    """Compare probabilities (N, C) of the same images.

    Two classes whose probabilities differ by less than rounding can each be the most probable one:
    a label counts as equal if either side gives both classes the same probability, to 1e-6.
    """
    rows = np.arange(len(ours))
    a, b = ours.argmax(axis=1), theirs.argmax(axis=1)
    tied = np.minimum(ours[rows, a] - ours[rows, b], theirs[rows, b] - theirs[rows, a]) <= 1e-6
    return Parity(
        images=len(ours),
        largest_difference=float(np.abs(ours - theirs).max()),
        labels_equal=bool(((a == b) | tied).all()),
    )


def check_images(
    run: Run, workspace: Workspace, folder: Path | None = None, most: int = IMAGES
) -> list[str]:
    """Return the images that a file is to be compared on, spread over all there are.

    Parameters
    ----------
    run : Run
    workspace : Workspace
        In which the run's data set is known.
    folder : Path, optional
        Images that are taken instead.
    most : int

    Raises
    ------
    DataError
        If there are none.
    """
    if folder is not None:
        files = find_images(folder) if folder.is_dir() else []
        if not files or files == [str(folder)]:
            raise DataError(f"{folder} has no images to check with.", "Name a folder of photos.")
    else:
        try:
            manifest = workspace.load_snapshot(run.info.dataset)
        except (TlxError, OSError) as error:
            raise DataError(
                f"the images of run {run.id} are not known here: {error}",
                "Name a folder of such images: tlx export --check FOLDER",
            ) from error
        files = [manifest.file(i) for i in np.flatnonzero(manifest.usable).tolist()]
        files = [file for file in files if Path(file).is_file()]
        if not files:
            raise DataError(
                f"no image of data set {run.info.dataset!r} is in {manifest.root} any more.",
                "Name a folder of such images: tlx export --check FOLDER",
            )
    return [files[i] for i in np.unique(np.linspace(0, len(files) - 1, most).astype(int))]


@dataclass(frozen=True)
class Reference:
    """What a run says of images. N images, C classes, D features.

    Attributes
    ----------
    files : list of N str
        Those that could be read.
    features : ndarray of shape (N, D), float32
    probabilities : ndarray of shape (N, C)
    """

    files: list[str]
    features: np.ndarray
    probabilities: np.ndarray


def reference(run: Run, files: Sequence[str]) -> Reference:
    """Predict images with a run: decoded, through the engine in float32, and its head.

    It is what `Run.predict` says, but that nothing is taken from the cache, whose features may be
    rounded or computed in bfloat16.

    Raises
    ------
    DataError
        If no image can be read.
    """
    targets = []
    for source in run.info.sources:
        spec = FeatureSpec.from_json(source["spec"])
        exact = replace(spec, precision="float32", dtype="float32")
        network = run_backbone(run, source)
        engine = _once(lambda network=network, spec=exact: load_engine(network, spec))
        targets.append(Target(exact, engine))
    rows: dict[int, np.ndarray] = {}
    for outcome in extract_all(files, targets):
        features = [feature for feature in outcome.features if feature is not None]
        if not outcome.error and len(features) == len(targets):  # a copy has none
            rows[outcome.index] = np.concatenate(features)
    if not rows:
        raise DataError("none of the images to check with can be read.", "Name others: --check")
    order = sorted(rows)
    X = np.stack([rows[index] for index in order]).astype(np.float32)
    return Reference([files[index] for index in order], X, run.predict_proba(X))


def _once(load: Any) -> Any:
    """Return a function that loads at its first call, and then gives the same."""
    loaded: list[Any] = []

    def get() -> Any:
        if not loaded:
            loaded.append(load())
        return loaded[0]

    return get


def where_it_begins(kind: Format, network: keras.Model, expected: Reference, order: Order) -> str:
    """Return in a phrase whether a written network differs in its features or in its head.

    Its part up to the embedding is written and opened by itself.
    """
    embedding = next(layer for layer in network.layers if layer.name.rstrip("_") == EMBEDDING)
    features = import_keras().Model(network.inputs[0], embedding.output, name="features")
    size, note = network.input_shape[1], order.note
    pixels = np.stack(
        [
            decode_image(
                Path(file).read_bytes(), size, fit=note["fit"], interpolation=note["interpolation"]
            ).pixels
            for file in expected.files
        ]
    )
    if not _alike(np.asarray(features(pixels)), expected.features):
        return "Keras itself gives other features than those that the run was fitted on"
    with tempfile.TemporaryDirectory() as folder:
        try:
            path = Path(folder, kind.file)
            kind.write(features, path, order)
            found = kind.open(path)(pixels)
        except Exception:  # a format may want a whole classifier
            return "its features alone cannot be written, so where it begins is not known"
    alike = _alike(found, expected.features)
    return f"the difference begins in the {'head' if alike else 'features'}"


def _alike(found: np.ndarray, expected: np.ndarray) -> bool:
    """Return whether features (N, D) differ by no more than engines do among themselves."""
    scale = float(np.abs(expected).max()) or 1.0
    return found.shape == expected.shape and float(np.abs(found - expected).max()) <= 1e-3 * scale


def probabilities_apart(folder: Path, files: Sequence[str]) -> np.ndarray:
    """Return what an exported network says of images (N, C), opened in a fresh process.

    Raises
    ------
    TlxError
        If the process fails; the cause is its own last words.
    """
    with tempfile.TemporaryDirectory() as place:
        asked, answer = Path(place, "files.json"), Path(place, "probabilities.npy")
        asked.write_text(json.dumps(list(files)), encoding="utf-8", errors="surrogateescape")
        command = [sys.executable, "-c", _START, "\n".join(sys.path), str(folder.absolute())]
        try:
            done = subprocess.run(
                [*command, str(asked), str(answer)],
                stdin=subprocess.DEVNULL,
                capture_output=True,
                timeout=_SECONDS,
                check=False,
            )
        except subprocess.TimeoutExpired as error:
            raise TlxError(
                f"the written file has not classified {len(files)} images in {_SECONDS} seconds.",
                "Use another --format.",
            ) from error
        if done.returncode or not answer.exists():
            said = done.stderr.decode(errors="replace").strip().splitlines()
            raise TlxError(
                f"the written file cannot be used: {(said or ['it ended the process'])[-1][:300]}",
                "Use another --format, and report this one.",
            )
        return np.load(answer, allow_pickle=False)


def main(folder: str, asked: str, answer: str) -> None:
    """Answer `probabilities_apart`, in the process of its own."""
    files = json.loads(Path(asked).read_text(encoding="utf-8", errors="surrogateescape"))
    found = open_exported(folder, own=True).probabilities(files)
    unread = [file for file, said in zip(files, found, strict=True) if isinstance(said, str)]
    if unread:
        raise SystemExit(f"{unread[0]} cannot be read")
    np.save(answer, np.stack([said for said in found if not isinstance(said, str)]))
