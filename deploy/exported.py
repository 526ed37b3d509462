"""An exported network opened again, without its run: photos in, probabilities out."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from ..cache.spec import FeatureSpec
from ..classify.predict import Prediction, find_images
from ..classify.scoring.calibrate import UNKNOWN
from ..embed.engines.engine import check_batch
from ..embed.extract import extract
from ..embed.images import DECODER_REVISION
from ..errors import DataError, FormatError, UnknownNameError
from ..progress import Progress, silent
from .formats.format import Classifier
from .formats.registry import formats, get_format
from .predictor import NAME, Predictor, digest_of, read_predictor


@dataclass(frozen=True)
class Exported:
    """A network's file with what is beside it.

    Attributes
    ----------
    path : Path
        The file, or folder, of the network.
    predictor : Predictor
    classifier : callable
        uint8 (N, S, S, 3) to float32 (N, C), by the format's own runtime.
    """

    path: Path
    predictor: Predictor
    classifier: Classifier = field(repr=False)

    def probabilities(
        self, files: Iterable[str], progress: Progress = silent
    ) -> list[np.ndarray | str]:
        """Return what the network says of image files, decoded as ``predictor.json`` says.

        Parameters
        ----------
        files : iterable of N str
        progress : Progress, optional

        Returns
        -------
        list of N
            float32 (C,), or the reason why an image could not be read.
        """
        files, said = list(files), self.predictor
        spec = FeatureSpec(
            said.format,
            said.sha256,
            "included",
            said.image_size,
            fit=said.fit,
            interpolation=said.interpolation,
            decoder=DECODER_REVISION,
        )
        found: list[np.ndarray | str] = [""] * len(files)
        known: dict[bytes, np.ndarray] = {}
        copies: list[tuple[int, bytes]] = []
        engine = _Engine(self)
        for done, outcome in enumerate(extract(files, spec, lambda: engine), 1):
            progress(done, len(files))
            if outcome.error or outcome.digest is None:
                found[outcome.index] = outcome.error
            elif outcome.feature is not None:
                found[outcome.index] = known[outcome.digest] = outcome.feature
            else:  # the same bytes as another file
                copies.append((outcome.index, outcome.digest))
        for index, digest in copies:
            found[index] = known[digest]
        return found

    def describe(self) -> str:
        """Return in one line what it is, for people."""
        said = self.predictor
        accuracy = said.accuracy
        return (
            f"{said.model} on {said.dataset!r}, accuracy {accuracy['value']:.4f} "
            f"({accuracy['low']:.4f} to {accuracy['high']:.4f}), exported from {said.run}"
        )

    def predict(
        self,
        paths: str | os.PathLike[str] | Iterable[str | os.PathLike[str]],
        *,
        reject: float | None = None,
        progress: Progress = silent,
    ) -> list[Prediction]:
        """Predict images; one that cannot be read is a row with its reason.

        Parameters
        ----------
        paths : path or iterable of path
            Images, and folders that are searched for images.
        reject : float, optional
            One of the errors that ``predictor.json`` has a threshold for.
        progress : Progress, optional

        Raises
        ------
        DataError
            If there is nothing to predict, or no threshold for that error.
        """
        least = 0.0 if reject is None else self.threshold(reject)
        files = find_images(paths)
        if not files:
            raise DataError("no images to predict.", "Name image files, or folders that hold some.")
        names, rows = self.predictor.class_names, []
        for file, said in zip(files, self.probabilities(files, progress), strict=True):
            if isinstance(said, str):
                why = "a folder without images" if os.path.isdir(file) else said
                rows.append(Prediction(file, error=why))
                continue
            best, p = int(said.argmax()), [float(value) for value in said]
            label = names[best] if p[best] >= least else UNKNOWN
            rows.append(Prediction(file, label, p[best], dict(zip(names, p, strict=True))))
        return rows

    def threshold(self, error: float) -> float:
        """Return the least confidence that promises an error of at most `error`.

        Raises
        ------
        DataError
            If the file has none for it.
        """
        known = {row["error"]: row["threshold"] for row in self.predictor.rejection}
        if error not in known:
            told = ", ".join(f"{each:g}" for each in known) or "none"
            raise DataError(
                f"{self.path} has no threshold that promises an error of at most {error:g}.",
                f"It has those for: {told}. Its run can promise others.",
            )
        return known[error]


class _Engine:
    """An exported network in the place of an engine: what it gives are probabilities."""

    name, note = "exported", ""

    def __init__(self, exported: Exported) -> None:
        self._exported = exported
        self.output_shape = (len(exported.predictor.class_names),)

    def __call__(self, batch: np.ndarray) -> np.ndarray:
        check_batch(batch, self._exported.predictor.image_size)
        try:
            found = np.asarray(self._exported.classifier(batch), np.float32)
        except Exception as error:  # whatever a runtime raises of a network of another input
            raise FormatError(
                f"{self._exported.path} cannot be run on images of {batch.shape[1]} pixels: "
                f"{' '.join(str(error).split())[:200]}",
                "Export it again: tlx export RUN",
            ) from error
        if found.shape != (len(batch), *self.output_shape):
            raise FormatError(
                f"{self._exported.path} gives {found.shape} for {len(batch)} images, and "
                f"{NAME} names {self.output_shape[0]} classes.",
                "Export it again: tlx export RUN",
            )
        return found


def open_exported(path: str | os.PathLike[str], *, own: bool = False) -> Exported:
    """Open an exported network; its SHA-256 is checked, and nothing in it is unpickled.

    Parameters
    ----------
    path : path
        The network's file or folder, or the folder with ``predictor.json``.
    own : bool, default=False
        Whether it was written here. Of others only the formats with `Format.predicts` are opened:
        a SavedModel, say, may write files when it is run.

    Raises
    ------
    FormatError
        If there is no good ``predictor.json`` beside it, or it describes another file, or one in a
        format that is not opened.
    MissingExtraError
        If what runs it is not installed.
    """
    path = Path(path)
    folder = path if (path / NAME).is_file() else path.parent
    predictor = read_predictor(folder / NAME)
    if path != folder and path.name != predictor.file:
        raise FormatError(
            f"{folder / NAME} describes {predictor.file}, and not {path.name}.",
            "Name the file that it describes, or keep each export in a folder of its own.",
        )
    path = folder / predictor.file
    try:
        kind = get_format(predictor.format)
    except UnknownNameError as error:
        raise FormatError(f"{folder / NAME}: {error.cause}", error.remedy) from error
    if not (kind.predicts or own):
        opened = ", ".join(each.name for each in formats().values() if each.predicts)
        raise FormatError(
            f"{folder / NAME}: an export in the format {kind.name} is not predicted with.",
            f"Predict with the run, or with an export in one of these formats: {opened}.",
        )
    kind.require_runtime()
    if digest_of(folder, predictor.files) != predictor.sha256:
        raise FormatError(
            f"{path} is not the file that {NAME} describes: its SHA-256 is another.",
            "Export it again: tlx export RUN",
        )
    try:
        return Exported(path, predictor, kind.open(path))
    except Exception as error:  # whatever a runtime raises of a foreign file
        raise FormatError(
            f"{path} cannot be opened as {predictor.format}: {' '.join(str(error).split())[:200]}",
            "Export it again: tlx export RUN",
        ) from error
