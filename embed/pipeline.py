"""Images to features: read, hash and decode in threads, run the engine in batches, store rows."""

from __future__ import annotations

import dataclasses
import math
import os
import stat
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from ..arguments import says_nearest_argument
from ..cache.files import open_binary
from ..cache.identity import digest_of
from ..cache.manifest import Manifest
from ..cache.spec import FITS, INTERPOLATIONS, POOLINGS, PRECISIONS, FeatureSpec
from ..cache.store import SEAL_SECONDS, FeatureStore, ShardWriter
from ..errors import DataError, FormatError, ImageError, UnknownNameError
from ..workspace import Workspace
from .backbones.registry import Backbone, get_backbone
from .dataset import Scan, check_fraction, scan, split_by_digest
from .engines.registry import Engine, load_engine
from .images import DECODER_REVISION, MAX_BYTES, decode_image
from .views import view_of

BATCH = 8
_NOT_FINITE = "its features are not finite"
_LOOKAHEAD = 4 * BATCH  # images decoded ahead of the engine: bounds the memory

Progress = Callable[[int, int], None]


@dataclass
class Outcome:
    """What became of one image file.

    Attributes
    ----------
    index : int
        Its place in the sequence of files.
    digest : bytes or None
        SHA-256 of the bytes that were read; None if they could not be.
    size, mtime_ns : int
        As the file system said when the bytes were read; mtime -1 if they changed meanwhile.
    width, height : int
        Pixels; 0 if it was not decoded.
    error : str
        Why it has no feature, "" if it has one.
    feature : ndarray or None
        Its feature; None on an error, and if the digest was known already.
    """

    index: int
    digest: bytes | None = None
    size: int = 0
    mtime_ns: int = -1
    width: int = 0
    height: int = 0
    error: str = ""
    feature: np.ndarray | None = None
    pixels: np.ndarray | None = None


@dataclass
class EmbedResult:
    """What `embed_images` did.

    Attributes
    ----------
    dataset : str
        Name under which the data set is known in the workspace.
    images, embedded, reused : int
        All images; those whose features were computed now; those whose features were there.
    views_embedded : int
        Augmented views computed now.
    unreadable : list of dict
        ``{"path", "reason"}`` of each image without a feature.
    spec : FeatureSpec
    dim : int
        Length of a feature, or the product of its shape.
    classes : dict
        Images that can be used, by class.
    splits : dict
        Images that can be used, by split.
    seconds, images_per_second : float
        Wall time of the pass, and computed features by it.
    engine : str or None
        None if nothing had to be computed.
    scan : Scan
        What was found and what was ignored.
    problems : list of str
        Damaged shards that were set aside.
    notes : list of str
        What one may want to know: why the engine is not the usual one, or that a split is gone.
    """

    dataset: str
    images: int
    embedded: int
    views_embedded: int
    reused: int
    unreadable: list[dict[str, str]]
    spec: FeatureSpec
    dim: int
    classes: dict[str, int]
    splits: dict[str, int]
    seconds: float
    engine: str | None
    scan: Scan
    problems: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    @property
    def images_per_second(self) -> float:
        """Computed features by wall time of the whole pass."""
        return (self.embedded + self.views_embedded) / self.seconds if self.seconds else 0.0


def make_spec(
    backbone: Backbone,
    *,
    layer: str = "last",
    pooling: str = "avg",
    image_size: int | None = None,
    fit: str = "squash",
    interpolation: str = "bilinear",
    view: int = 0,
    precision: str = "float32",
) -> FeatureSpec:
    """Return the spec of a backbone's features; maps are stored as float16, vectors as float32.

    Raises
    ------
    UnknownNameError
        If `pooling`, `fit`, `interpolation` or `precision` is none of those that a spec knows.
    """
    for kind, value, known in (
        ("pooling", pooling, POOLINGS),
        ("fit", fit, FITS),
        ("interpolation", interpolation, INTERPOLATIONS),
        ("precision", precision, PRECISIONS),
    ):
        if value not in known:
            raise UnknownNameError.nearest(kind, value, known)
    if image_size is not None and image_size < 1:
        raise DataError(f"image size {image_size} is not positive.", "Try 224.")
    return FeatureSpec(
        backbone=backbone.name,
        weights=backbone.weights_digest,
        preprocessing=backbone.preprocessing,
        image_size=image_size or backbone.image_size,
        layer=layer,
        pooling=pooling,
        fit=fit,
        interpolation=interpolation,
        view=view,
        precision=precision,
        dtype="float16" if pooling == "none" else "float32",
        decoder=DECODER_REVISION,
    )


@says_nearest_argument
def embed_images(
    source: str | os.PathLike[str],
    *,
    backbone: str = "efficientnet-lite0",
    weights: str = "imagenet",
    workspace: str | os.PathLike[str] = ".tlx",
    name: str | None = None,
    validation_fraction: float | None = None,
    seed: int = 0,
    views: int = 0,
    engine: str | Engine = "auto",
    rehash: bool = False,
    strict: bool = False,
    checkpoint_seconds: float = SEAL_SECONDS,
    progress: Progress = lambda done, total: None,
    **spec_options: Any,
) -> EmbedResult:
    """Embed the images of a folder or CSV file, computing only what the workspace lacks.

    Parameters
    ----------
    source : path
        See `tlx.embed.dataset.scan` for the layouts.
    backbone : str, default="efficientnet-lite0"
        Pre-trained network.
    weights : str, default="imagenet"
        ``"imagenet"``, ``"none"`` (random), or a file.
    workspace : path, default=".tlx"
        Where features and manifests are kept.
    name : str, optional
        Name of the data set; by default that of the folder.
    validation_fraction : float, optional
        Share of images to set aside for validation, by a stable hash of each image's digest.
    seed : int, default=0
        Seed of that hash.
    views : int, default=0
        So many augmented views of each image are embedded besides the plain one.
    engine : {"auto", "openvino", "tensorflow"} or Engine, default="auto"
        What computes the features. An engine of one's own answers for it that its features are
        those of the spec: the cache cannot tell.
    rehash : bool, default=False
        Read every file again instead of trusting its size and modification time.
    strict : bool, default=False
        Raise if any image cannot be read. What was embedded is kept all the same.
    checkpoint_seconds : float, default=10
        At most this many seconds of work are lost if the process is killed.
    progress : callable, optional
        Called with the number of images done and their total.
    **spec_options
        ``layer``, ``pooling``, ``image_size``, ``fit``, ``interpolation``, ``precision``.

    Returns
    -------
    EmbedResult

    Raises
    ------
    DataError
        If there are no images, none of them can be read, or, with `strict`, one cannot.
    UnknownNameError
        If there is no such backbone or layer.
    StorageError
        If the workspace cannot be written. Everything sealed before is kept.

    Examples
    --------
    >>> import tlx
    >>> result = tlx.embed_images("photos")
    >>> result.images, result.classes
    (24, {'blue': 12, 'red': 12})
    """
    started = time.perf_counter()
    workspace = Workspace(workspace)
    network = get_backbone(backbone, weights)
    spec = make_spec(network, **spec_options)
    path = Path(source).absolute()
    found = scan(path, workspace.manifest_name(path, name))
    manifest = found.manifest
    if validation_fraction is not None:
        check_fraction(manifest, validation_fraction)  # before the work, not after it
    problems, notes = _adopt_previous(workspace, manifest, rehash)
    if validation_fraction is not None:
        notes = []  # the one there may be is of a split left out
    manifest.record_source(spec.fingerprint, spec.json, weights)

    store = FeatureStore(workspace.cache, spec.json)
    view_stores = [
        FeatureStore(workspace.cache, dataclasses.replace(spec, view=k).json)
        for k in range(1, views + 1)
    ]
    saver = _ManifestSaver(manifest, workspace.manifest_path(manifest.name), checkpoint_seconds)
    used: list[Engine] = []

    def open_engine() -> Engine:
        if not used:
            used.append(load_engine(network, spec, engine) if isinstance(engine, str) else engine)
        return used[0]

    def fill(store: FeatureStore) -> int:
        stored = store.digests()
        todo = _rows_to_read(manifest, stored)
        if not len(todo):
            return 0
        its_spec = FeatureSpec.from_json(store.spec_json)
        files = [manifest.file(row) for row in todo]
        with store.writer(checkpoint_seconds, saver.save_if_due) as writer:
            outcomes = extract(files, its_spec, open_engine, known=stored)
            return _take(outcomes, manifest, todo, writer, progress)

    try:
        embedded = fill(store)
        views_embedded = sum(fill(view_store) for view_store in view_stores)
        if validation_fraction is not None:
            split_by_digest(manifest, validation_fraction, seed)
    finally:
        saver.save()

    result = EmbedResult(
        dataset=manifest.name,
        images=len(manifest),
        embedded=embedded,
        views_embedded=views_embedded,
        reused=int(manifest.usable.sum()) - embedded,
        unreadable=[
            {"path": p, "reason": e}
            for p, e in zip(manifest.path, manifest.error, strict=True)
            if e
        ],
        spec=spec,
        dim=math.prod(store.feature_shape() or (0,)),
        classes=_count_classes(manifest),
        splits=dict(
            Counter(s for s, ok in zip(manifest.split, manifest.usable, strict=True) if ok and s)
        ),
        seconds=time.perf_counter() - started,
        engine=used[0].name if used else None,
        notes=notes + [engine.note for engine in used if engine.note],
        scan=found,
        problems=problems + [p for s in (store, *view_stores) for p in s.problems],
    )
    _check(result, strict)
    return result


def extract(
    files: Iterable[str | bytes],
    spec: FeatureSpec,
    open_engine: Callable[[], Engine],
    known: Iterable[bytes] = (),
) -> Iterator[Outcome]:
    """Yield what becomes of each file, in batches but in order within each kind of outcome.

    Each file is read once, hashed, and decoded from memory unless its digest is in `known` or was
    seen before. The engine is opened when the first batch is ready, so that nothing is loaded if
    nothing has to be computed. At most `_LOOKAHEAD` decoded images are held.

    Parameters
    ----------
    files : iterable of N str or bytes
        Paths, or what image files hold. It is read as far ahead as images are decoded.
    spec : FeatureSpec
    open_engine : callable
        Returns the engine for `spec`.
    known : iterable of bytes
        Digests whose features need not be computed.

    Yields
    ------
    Outcome
        N of them.
    """
    claimed = _Claims(known)
    engine: Engine | None = None
    batch: list[Outcome] = []
    for outcome in _decode_ahead(files, spec, claimed):
        if outcome.pixels is None:
            yield outcome
            continue
        batch.append(outcome)
        if len(batch) == BATCH:
            engine = engine or open_engine()
            yield from _compute(engine, batch, spec)
            batch = []
    if batch:
        yield from _compute(engine or open_engine(), batch, spec)


class _Claims:
    """Digests that are computed or about to be, so that no image is decoded twice."""

    def __init__(self, known: Iterable[bytes]) -> None:
        self._digests = set(known)
        self._lock = threading.Lock()

    def take(self, digest: bytes) -> bool:
        """Return True to the first caller for a digest, False to all others."""
        with self._lock:
            if digest in self._digests:
                return False
            self._digests.add(digest)
            return True


def _decode_ahead(
    files: Iterable[str | bytes], spec: FeatureSpec, claims: _Claims
) -> Iterator[Outcome]:
    """Yield the outcomes of `files` in order, decoding a bounded number ahead in threads."""
    pending: deque[Future[Outcome]] = deque()
    executor = ThreadPoolExecutor(os.cpu_count() or 1, thread_name_prefix="tlx-decode")
    try:
        for index, file in enumerate(files):
            pending.append(executor.submit(_prepare, index, file, spec, claims))
            if len(pending) >= _LOOKAHEAD:
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()
    finally:
        executor.shutdown(wait=True, cancel_futures=True)


def _prepare(index: int, file: str | bytes, spec: FeatureSpec, claims: _Claims) -> Outcome:
    """Read, hash and decode one file."""
    outcome = Outcome(index)
    try:
        data, outcome.size, outcome.mtime_ns = _read(file)
        outcome.digest = digest_of(data)
        if not claims.take(outcome.digest):
            return outcome
        decoded = decode_image(
            data,
            spec.image_size,
            fit=spec.fit,
            interpolation=spec.interpolation,
            view=view_of(outcome.digest, spec.view),
        )
    except ImageError as error:
        outcome.error = error.cause
    except OSError as error:
        outcome.error = (error.strerror or str(error)).lower()
    else:
        outcome.pixels, outcome.width, outcome.height = decoded
    return outcome


def _read(file: str | bytes) -> tuple[bytes, int, int]:
    """Return a file's bytes with its size and mtime; mtime -1 if that may not tell a change."""
    if isinstance(file, bytes):
        return file, len(file), -1
    with open_binary(file) as stream:
        before = os.fstat(stream.fileno())
        if not stat.S_ISREG(before.st_mode):
            raise ImageError("not a regular file")
        if before.st_size > MAX_BYTES:
            raise ImageError(f"file of {before.st_size / 2**20:.0f} MiB, at most {MAX_BYTES >> 20}")
        data = stream.read(MAX_BYTES + 1)
        after = os.fstat(stream.fileno())
    same = (before.st_size, before.st_mtime_ns) == (len(data), after.st_mtime_ns)
    settled = abs(time.time_ns() - after.st_mtime_ns) > _tick(after.st_mtime_ns)
    return data, len(data), before.st_mtime_ns if same and settled else -1


def _tick(mtime_ns: int) -> int:
    """Return how coarse the clock of a file's times may be, in nanoseconds.

    A write within one tick of another does not change the time; so a file that was written just now
    is read again by the next pass. Whole seconds are the mark of a clock like that of FAT.
    """
    return 50_000_000 if mtime_ns % 1_000_000_000 else 2_000_000_000


def _compute(engine: Engine, batch: list[Outcome], spec: FeatureSpec) -> Iterator[Outcome]:
    features = engine(np.stack([o.pixels for o in batch if o.pixels is not None]))
    with np.errstate(over="ignore"):  # float16 may overflow; the check below catches it
        features = features.astype(spec.dtype, copy=False)
    for outcome, feature in zip(batch, features, strict=True):
        outcome.pixels = None
        if np.isfinite(feature).all():
            outcome.feature = feature
        else:
            outcome.error = f"{_NOT_FINITE} in {spec.precision} and {spec.dtype}"
        yield outcome


def _take(
    outcomes: Iterator[Outcome],
    manifest: Manifest,
    rows: np.ndarray,
    writer: ShardWriter,
    progress: Progress,
) -> int:
    """Store each feature and write down in the manifest what became of each row."""
    embedded = 0
    reasons: dict[bytes, str] = {}
    progress(0, len(rows))
    for done, outcome in enumerate(outcomes, 1):
        row = rows[outcome.index]
        manifest.error[row] = outcome.error
        if outcome.digest is not None:
            manifest.digest[row] = np.frombuffer(outcome.digest, np.uint8)
            manifest.size[row], manifest.mtime_ns[row] = outcome.size, outcome.mtime_ns
            manifest.width[row], manifest.height[row] = outcome.width, outcome.height
            if outcome.error:
                reasons[outcome.digest] = outcome.error
        if outcome.feature is not None and outcome.digest is not None:
            writer.add(outcome.digest, outcome.feature)
            embedded += 1
        progress(done, len(rows))
    for row in rows:  # copies of an image that failed fail for the same reason
        manifest.error[row] = manifest.error[row] or reasons.get(manifest.digest[row].tobytes(), "")
    return embedded


class _ManifestSaver:
    """Saves the manifest now and then while it fills, so that a resumed run need not hash again."""

    def __init__(self, manifest: Manifest, path: Path, seconds: float) -> None:
        self._manifest, self._path, self._seconds = manifest, path, seconds
        self._saved_at = time.monotonic()

    def save(self) -> None:
        self._manifest.save(self._path)
        self._saved_at = time.monotonic()

    def save_if_due(self) -> None:
        if time.monotonic() - self._saved_at >= self._seconds:
            self.save()


def _adopt_previous(
    workspace: Workspace, manifest: Manifest, rehash: bool
) -> tuple[list[str], list[str]]:
    """Take over what an earlier manifest knows; return its problem if it cannot be read, and notes.

    A split by digest is not taken over: what a command does should stand in the command.
    """
    try:
        previous = Manifest.load(workspace.manifest_path(manifest.name))
    except FileNotFoundError:
        return [], []
    except FormatError as error:
        return [error.cause], []
    if rehash:
        manifest.sources = previous.sources
    else:
        manifest.adopt(previous)
        # The fault of one spec, not of the image: another backbone, or precision, may do.
        manifest.error = ["" if e.startswith(_NOT_FINITE) else e for e in manifest.error]
    if "validation" in previous.split and not any(manifest.split):
        return [], ["the earlier validation split is gone: --validation-fraction was not given"]
    return [], []


def _rows_to_read(manifest: Manifest, stored: set[bytes]) -> np.ndarray:
    """Return the rows of images that are neither known to be bad nor embedded."""
    hashed = manifest.hashed
    return np.array(
        [
            row
            for row, digest in enumerate(manifest.digest_bytes())
            if not manifest.error[row] and not (hashed[row] and digest in stored)
        ],
        np.intp,
    )


def _count_classes(manifest: Manifest) -> dict[str, int]:
    labels = manifest.label[manifest.usable]
    return {name: int((labels == i).sum()) for i, name in enumerate(manifest.class_names)}


def _check(result: EmbedResult, strict: bool) -> None:
    bad = result.unreadable
    if len(bad) == result.images:
        raise DataError(
            f"none of the {result.images} images can be read; the first: {bad[0]['path']}: "
            f"{bad[0]['reason']}.",
            "tlx reads JPEG, PNG, WEBP, GIF, BMP and TIFF.",
        )
    if strict and bad:
        raise DataError(
            f"{len(bad)} of {result.images} images cannot be read; the first: {bad[0]['path']}: "
            f"{bad[0]['reason']}.",
            "Mend or remove them, or leave out --strict. What could be embedded is kept.",
        )
