"""Images to features as a step of a scikit-learn pipeline."""

from __future__ import annotations

import contextlib
import functools
import os
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from PIL import Image
from sklearn.base import BaseEstimator, ClassNamePrefixFeaturesOutMixin, TransformerMixin

from ..cache.spec import FeatureSpec
from ..cache.store import FeatureStore, ShardWriter
from ..errors import DataError, ImageError, WeightsError
from ..workspace import Workspace
from .backbones.registry import get_backbone
from .engines.engine import Engine
from .engines.registry import load_engine
from .extract import extract
from .images import image_file
from .pipeline import make_spec

_KINDS = "Give paths, PIL images, bytes of image files, or uint8 arrays of 0 to 255."


# scikit-learn asks for its mixins on the left of BaseEstimator.
class ImageEmbedder(ClassNamePrefixFeaturesOutMixin, TransformerMixin, BaseEstimator):
    """Turn images into the features of a frozen backbone: a scikit-learn transformer.

    Nothing is learned: `fit` checks the parameters, and `transform` works without it. The network
    is loaded when the first image has to be computed, once a process for all embedders alike, and
    is no part of a pickle or a clone.

    Parameters
    ----------
    backbone : str, default="efficientnet-lite0"
        Pre-trained network, as `embed_images` takes it.
    weights : str, default="imagenet"
        ``"imagenet"``, ``"none"`` (random), or a file.
    workspace : path, optional
        Features that it has are read, new ones are kept in it, so that neither another fold nor
        another program computes them again. By default nothing is kept: each call computes.
    layer : str, default="last"
        Tap this layer of the network instead of its last feature map.
    pooling : {"avg", "max", "avg+max", "flatten"}, default="avg"
        How a feature map becomes a vector.
    image_size : int, optional
        Input size in pixels; by default the network's own.
    resize : {"squash", "crop", "pad"}, default="squash"
        How a photo of another shape is fitted into the square.
    interpolation : {"nearest", "bilinear", "bicubic", "lanczos"}, default="bilinear"
    precision : {"float32", "bfloat16"}, default="float32"
        Arithmetic of the network.
    engine : {"auto", "openvino", "tensorflow"} or Engine, default="auto"
        What computes.

    Attributes
    ----------
    spec_ : FeatureSpec
        Identity of the features, after `fit`. An embedder that was fitted refuses other weights.

    Notes
    -----
    A path has the same features, bit for bit, as `embed_images` gives it, and shares its cache. A
    PIL image or array stands for an uncompressed file of exactly its pixels (and of its EXIF
    orientation): the digest of that file is its key in the cache. So an image opened by Pillow has
    the features of its file, also bit for bit, with one exception: a JPEG more than about four
    times as large as the network's input is decoded at a half, a quarter or an eighth of its size
    from a path, which is much faster, and in full by Pillow. The features then differ a little.
    ``tlx cache prune`` removes features of images that no data set lists.

    Examples
    --------
    >>> import tlx
    >>> from sklearn.linear_model import LogisticRegression
    >>> from sklearn.pipeline import make_pipeline
    >>> paths = [f"photos/{kind}/{i}.png" for kind in ("blue", "red") for i in range(6)]
    >>> labels = ["blue"] * 6 + ["red"] * 6
    >>> model = make_pipeline(tlx.ImageEmbedder(workspace=".tlx"), LogisticRegression())
    >>> model.fit(paths, labels).predict(["photos/red/0.png"]).tolist()
    ['red']
    """

    def __init__(
        self,
        backbone: str = "efficientnet-lite0",
        *,
        weights: str = "imagenet",
        workspace: str | os.PathLike[str] | None = None,
        layer: str = "last",
        pooling: str = "avg",
        image_size: int | None = None,
        resize: str = "squash",
        interpolation: str = "bilinear",
        precision: str = "float32",
        engine: str | Engine = "auto",
    ) -> None:
        self.backbone = backbone
        self.weights = weights
        self.workspace = workspace
        self.layer = layer
        self.pooling = pooling
        self.image_size = image_size
        self.resize = resize
        self.interpolation = interpolation
        self.precision = precision
        self.engine = engine

    def fit(self, X: Any, y: Any = None) -> ImageEmbedder:
        """Check the parameters and the kind of `X`; no image is read.

        Parameters
        ----------
        X : sequence of N images
            See `transform`.
        y : ignored

        Returns
        -------
        self

        Raises
        ------
        UnknownNameError
            If there is no such backbone, pooling, resize, interpolation or precision.
        DataError
            If `X` holds no images, or something else; or with ``pooling="none"``.
        """
        _items(X)
        self.spec_ = self._make_spec()
        return self

    def transform(self, X: Any) -> np.ndarray:
        """Return the features of images.

        Parameters
        ----------
        X : sequence of N images
            Paths, PIL images, bytes of image files, or uint8 arrays (H, W, 3), (H, W, 4) and grey
            (H, W) or (H, W, 1), mixed as one likes; or one array (N, H, W, 3) and so on; or one
            column of a pandas data frame. Transparency is laid on white.

        Returns
        -------
        ndarray of shape (N, D), float32
            A data frame after ``set_output(transform="pandas")``.

        Raises
        ------
        ImageError
            If images cannot be read; it names them. The features of the others are kept if there
            is a workspace.
        WeightsError
            If the weights are not those that the embedder was fitted with.
        """
        items = _items(X)
        spec = self._current_spec()
        store = self._store(spec)
        known = store.digests() if store else set()
        faults: dict[int, str] = {}
        out: np.ndarray | None = None
        digests: list[bytes] = [b""] * len(items)
        computed: dict[bytes, int] = {}
        with _Keeper(store) as keeper:
            for outcome in extract(
                _sources(items, faults), spec, lambda: self._engine(spec), known
            ):
                digests[outcome.index] = outcome.digest or b""
                if outcome.error:
                    faults.setdefault(outcome.index, outcome.error)
                if outcome.feature is None or outcome.digest is None:
                    continue
                if out is None:
                    out = np.empty((len(items), *outcome.feature.shape), np.float32)
                out[outcome.index] = outcome.feature
                computed[outcome.digest] = outcome.index
                keeper.keep(outcome.digest, outcome.feature)
        _check(items, digests, faults)
        read = [i for i, digest in enumerate(digests) if digest not in computed]
        if read and store:
            features = store.gather(digests[i] for i in read)
            if out is None:
                return features
            out[read] = features
        assert out is not None  # there is an image, and none failed
        copies = [i for i, d in enumerate(digests) if computed.get(d, i) != i]
        out[copies] = out[[computed[digests[i]] for i in copies]]
        return out

    @property
    def _n_features_out(self) -> int:
        """Length of a feature; scikit-learn asks for it to name the columns."""
        spec = self._current_spec()
        store = self._store(spec)
        shape = store.feature_shape() if store else None
        return (shape or self._engine(spec).output_shape)[0]

    def __sklearn_is_fitted__(self) -> bool:
        return True  # there is nothing to learn

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.requires_fit = False
        tags.input_tags.two_d_array = False
        tags.input_tags.string = True
        return tags

    def _make_spec(self) -> FeatureSpec:
        if self.pooling == "none":
            raise DataError(
                "pooling 'none' gives maps, which are no rows of a table.",
                "Use 'avg', 'max', 'avg+max' or 'flatten'.",
            )
        return make_spec(
            get_backbone(self.backbone, self.weights),
            layer=self.layer,
            pooling=self.pooling,
            image_size=self.image_size,
            resize=self.resize,
            interpolation=self.interpolation,
            precision=self.precision,
        )

    def _current_spec(self) -> FeatureSpec:
        """Return what the parameters say now; refuse other weights than `fit` saw."""
        spec = self._make_spec()
        fitted: FeatureSpec = getattr(self, "spec_", spec)
        if fitted.backbone == spec.backbone and fitted.weights != spec.weights:
            raise WeightsError(
                f"the weights of {spec.backbone} here are not those that the embedder was fitted "
                f"with: {spec.weights[:12]} instead of {fitted.weights[:12]}.",
                "Install the version of the weights that it was fitted with, or fit it again.",
            )
        return spec

    def _store(self, spec: FeatureSpec) -> FeatureStore | None:
        if self.workspace is None:
            return None
        return FeatureStore(Workspace(self.workspace).cache, spec.json)

    def _engine(self, spec: FeatureSpec) -> Engine:
        if not isinstance(self.engine, str):
            return self.engine
        return _shared_engine(self.backbone, self.weights, spec, self.engine)


@functools.lru_cache(maxsize=4)
def _shared_engine(backbone: str, weights: str, spec: FeatureSpec, engine: str) -> Engine:
    """Load an engine once for all embedders of a process: every fold of a search is a clone."""
    return load_engine(get_backbone(backbone, weights), spec, engine)


class _Keeper(contextlib.ExitStack):
    """Writes features to a store if there is one, and opens it when there is one to write."""

    def __init__(self, store: FeatureStore | None) -> None:
        super().__init__()
        self._store = store
        self._writer: ShardWriter | None = None

    def keep(self, digest: bytes, feature: np.ndarray) -> None:
        if self._store is None:
            return
        if self._writer is None:
            self._writer = self.enter_context(self._store.writer())
        self._writer.add(digest, feature)


def _items(X: Any) -> Sequence[Any]:
    """Return `X` as a sequence of single images."""
    if isinstance(X, (str, bytes, os.PathLike, Image.Image)):
        return [X]
    if isinstance(X, np.ndarray) and X.dtype.kind not in "OSU":
        return _split_array(X)
    if len(getattr(X, "shape", ())) == 2:  # one column of a table
        if X.shape[1] != 1:
            raise DataError(f"a table of {X.shape[1]} columns holds no images.", "Give one column.")
        X = np.asarray(X).ravel()
    try:
        items = list(X)
    except TypeError:
        raise DataError(f"a {type(X).__name__} holds no images.", _KINDS) from None
    if not items:
        raise DataError("there are no images.", _KINDS)
    for place, item in enumerate(items):
        if isinstance(item, np.ndarray):
            _check_pixels(item, f"image {place}")
        elif not isinstance(item, (str, bytes, os.PathLike, Image.Image)):
            raise DataError(f"image {place} is of type {type(item).__name__}.", _KINDS)
    return items


def _split_array(X: np.ndarray) -> list[np.ndarray]:
    if X.ndim == 3 and X.shape[-1] in (1, 3, 4):
        raise DataError(
            f"an array of shape {X.shape} is one image, or {len(X)} very narrow ones.",
            "Use X[None] for one image, X[..., None] for grey ones.",
        )
    if X.ndim not in (3, 4) or not len(X):
        raise DataError(
            f"an array of shape {X.shape} holds no images.",
            "Expected (N, H, W, 3), (N, H, W, 4), or grey (N, H, W) or (N, H, W, 1).",
        )
    _check_pixels(X[0], "X")
    return list(X)  # views: nothing is copied


def _check_pixels(image: np.ndarray, name: str) -> None:
    if image.dtype != np.uint8:
        hint = "For values of 0 to 1: (255 * X).round().astype('uint8')."
        raise DataError(f"{name} is an array of {image.dtype}, pixels must be uint8.", hint)
    if image.ndim != 2 and (image.ndim != 3 or image.shape[2] not in (1, 3, 4)):
        raise DataError(
            f"{name} is an array of shape {image.shape}.",
            "Expected (H, W), (H, W, 3) or (H, W, 4).",
        )


def _sources(items: Sequence[Any], faults: dict[int, str]) -> Iterator[str | bytes]:
    """Yield the path or the bytes of each image, one by one: pixels take memory."""
    for place, item in enumerate(items):
        if isinstance(item, (Image.Image, np.ndarray)):
            try:
                yield image_file(item)
            except ImageError as error:
                faults[place] = error.cause
                yield b""
        else:
            yield bytes(item) if isinstance(item, bytes) else os.fspath(item)


def _check(items: Sequence[Any], digests: Sequence[bytes], faults: dict[int, str]) -> None:
    """Raise one error that names the images that cannot be read."""
    if not faults:
        return
    bad = {digests[place]: reason for place, reason in faults.items() if digests[place]}
    faults = faults | {i: bad[d] for i, d in enumerate(digests) if d in bad and i not in faults}
    named = [
        f"{os.fspath(items[i])!r}" if isinstance(items[i], (str, os.PathLike)) else f"image {i}"
        for i in sorted(faults)
    ]
    told = [f"{name}: {faults[i]}" for name, i in zip(named, sorted(faults), strict=True)]
    more = f"; and {len(told) - 5} more" if len(told) > 5 else ""
    raise ImageError(
        f"{len(told)} of {len(items)} images cannot be read: {'; '.join(told[:5])}{more}.",
        "Mend them or leave them out.",
    )
