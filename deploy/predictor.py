"""``predictor.json``: all that one needs to know to use an exported network, beside its file."""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, Final

from ..cache.spec import FITS, INTERPOLATIONS
from ..embed.backbones.weights_file import file_digest
from ..errors import FormatError, WeightsError
from .formats.format import PRECISIONS

NAME: Final = "predictor.json"
_LIMIT: Final = 64 << 20  # bytes; 20,000 classes have a few hundred KB
_MOST: Final = 1000  # files of a network
_HEX: Final = re.compile(r"[0-9a-f]{64}")
_TEXTS: Final = ("tlx", "format", "precision", "file", "sha256", "run", "model", "dataset")
_OBJECTS: Final = ("decoding", "input", "output", "accuracy", "parity")
RULES: Final = (
    "The first frame counts where there are several.",
    "EXIF orientation is applied; colour profiles are ignored.",
    "Transparent pixels become white; grey becomes RGB; 16 bits are scaled to 8.",
    "A large JPEG may be decoded at 1/2, 1/4 or 1/8 of its size, if that is still at least twice "
    "the wanted one.",
    "Resampled with the filter of 'interpolation', widened by the scale when shrinking "
    "(antialiased), to image_size by image_size: 'squash' ignores the aspect ratio, 'crop' takes "
    "the largest centred square first, 'pad' fits the whole picture and centres it on black.",
    "RGB, 0 to 255 as they are: what scales them is inside the network.",
)


@dataclass(frozen=True)
class Predictor:
    """What ``predictor.json`` says. C classes, S pixels a side.

    Attributes
    ----------
    tlx : str
        Version that wrote it.
    format, precision : str
        What the file is, and what its weights are: ``"float32"``, ``"float16"`` or ``"int8"``.
    file : str
        Name of the network's file, or folder, beside this one.
    sha256 : str
        Of the file; of a network of several files see `digest_of`.
    files : list of str
        All files of the network, as paths relative to this one.
    run, model, dataset : str
        Id of the run, name of its head, and the data set that it learned from.
    fingerprint : str
        Of its features; those of several backbones joined by ``+``.
    spec : list of dict
        What these say, one a backbone.
    class_names : tuple of C str
        In the order of the output.
    image_size : int
        S.
    fit, interpolation : str
        How a photo of another shape becomes a square, and the filter: see `decoding`.
    decoding : dict
        ``revision`` and ``rules``, in words.
    input, output : dict
        ``name`` and ``shape``, and of the input ``dtype``; None in a shape is any number.
    temperature : float
        What the probabilities were calibrated with; it is inside the network.
    accuracy : dict
        Of the run: ``value``, and ``low`` and ``high`` of its 95% interval.
    rejection : list of dict
        Of several errors the least confidence (``threshold``) that promises no more:
        see `tlx.classify.scoring.calibrate.Rejection`.
    parity : dict
        ``images``, ``largest_difference`` and ``labels_equal``: how the file was compared with the
        run before it was kept.
    created : str
        Time in UTC, ISO 8601.
    """

    tlx: str
    format: str
    precision: str
    file: str
    sha256: str
    files: list[str]
    run: str
    model: str
    dataset: str
    fingerprint: str
    spec: list[dict[str, Any]]
    class_names: tuple[str, ...]
    image_size: int
    fit: str
    interpolation: str
    decoding: dict[str, Any]
    input: dict[str, Any]
    output: dict[str, Any]
    temperature: float
    accuracy: dict[str, Any]
    rejection: list[dict[str, Any]]
    parity: dict[str, Any]
    created: str

    def to_json(self) -> bytes:
        """Return the file that `read_predictor` reads."""
        return (json.dumps(asdict(self), indent=1, allow_nan=False) + "\n").encode()

    @property
    def note(self) -> dict[str, Any]:
        """What belongs into the network's own metadata: see `tlx.deploy.formats.format.Order`."""
        names = ("run", "dataset", "fingerprint", "image_size", "fit", "interpolation")
        return {"class_names": list(self.class_names)} | {n: getattr(self, n) for n in names}


def read_predictor(path: Path) -> Predictor:
    """Read a ``predictor.json``, which may be anybody's: everything in it is checked.

    Raises
    ------
    FormatError
        If it is missing, damaged or foreign.
    """
    try:
        if path.stat().st_size > _LIMIT:
            raise ValueError(f"it has {path.stat().st_size:,} bytes")
        found = json.loads(path.read_bytes())
        if not isinstance(found, dict):
            raise ValueError("it is no object")
        _check(found)
    except (OSError, ValueError, OverflowError, RecursionError) as error:
        reason = getattr(error, "strerror", None) or error
        raise FormatError(
            f"{path} does not describe an exported network: {' '.join(str(reason).split())[:200]}.",
            "An export is the network's file with predictor.json beside it: keep both.",
        ) from error
    known = {field.name for field in fields(Predictor)}
    values = {key: value for key, value in found.items() if key in known}
    values["class_names"] = tuple(found["class_names"])
    return Predictor(**values)


def _check(found: dict[str, Any]) -> None:
    """Raise a ValueError that says what is not as it should be."""
    missing = sorted({field.name for field in fields(Predictor)} - found.keys())
    _require(not missing, f"it lacks {', '.join(missing)}")
    for name in (*_TEXTS, "fingerprint", "fit", "interpolation", "created"):
        _require(isinstance(found[name], str), f"{name} is no text")
    for name in _OBJECTS:
        _require(isinstance(found[name], dict), f"{name} is no object")
    for name in ("spec", "rejection"):
        objects = isinstance(found[name], list) and all(isinstance(x, dict) for x in found[name])
        _require(objects, f"{name} is no list of objects")
    names = found["class_names"]
    texts = isinstance(names, list) and all(isinstance(name, str) and name for name in names)
    _require(texts and len(set(names)) == len(names) >= 2, "class_names are no different names")
    _require(_is_beside(found["file"]), f"file {found['file']!r:.80} does not lie beside it")
    files = found["files"]
    _require(isinstance(files, list) and 0 < len(files) <= _MOST, "files is no list of files")
    for file in files:
        beside = isinstance(file, str) and all(map(_is_beside, file.split("/")))
        _require(beside, f"file {file!r:.80} does not lie beside it")
    within = all(file.startswith(f"{found['file']}/") for file in files)
    _require(found["file"] in files or within, f"file {found['file']!r:.80} is not among files")
    _require(bool(_HEX.fullmatch(found["sha256"])), "sha256 is no SHA-256")
    size = found["image_size"]
    _require(type(size) is int and 1 <= size <= 4096, f"an image size of {size!r:.40}")
    for name, allowed in (
        ("fit", FITS),
        ("interpolation", INTERPOLATIONS),
        ("precision", PRECISIONS),
    ):
        _require(
            found[name] in allowed, f"{name} {found[name]!r:.40} is not {' or '.join(allowed)}"
        )
    _require(_is_number(found["temperature"]), "temperature is no number")
    _require(
        all(_is_number(found["accuracy"].get(key)) for key in ("value", "low", "high")),
        "accuracy has no value with an interval",
    )
    _require(
        all(
            _is_number(row.get(key)) for row in found["rejection"] for key in ("error", "threshold")
        ),
        "rejection has no errors and thresholds",
    )


def _is_beside(name: str) -> bool:
    """Return whether a name is one of a file in the very folder."""
    return bool(name) and name not in (".", "..") and not re.search(r"[/\\:\0]", name)


def _require(good: bool, problem: str) -> None:
    if not good:
        raise ValueError(problem)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def files_of(folder: Path) -> list[str]:
    """Return the files of a network that is alone in `folder`, as relative paths with slashes."""
    found = [path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()]
    return sorted(set(found) - {NAME})


def digest_of(folder: Path, files: Sequence[str]) -> str:
    """Return the SHA-256 of a network's files, in hexadecimal.

    Of one file it is the file's. Of several it is that of their list: a line each, the SHA-256, two
    spaces and the path, in the order of the paths, as ``sha256sum`` prints it.

    Raises
    ------
    FormatError
        If one is missing.
    """
    try:
        found = [(file_digest(folder / name), name) for name in sorted(files)]
    except WeightsError as error:
        raise FormatError(error.cause, "Keep all files of an export together.") from error
    if len(found) == 1:
        return found[0][0]
    lines = "".join(f"{digest}  {name}\n" for digest, name in found)
    return hashlib.sha256(lines.encode()).hexdigest()
