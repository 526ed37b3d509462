"""What a worker of a cluster does: embed parts of the images, with a network that it keeps."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from .._version import __version__
from ..cache.handed import hand_over
from ..cache.identity import fingerprint_of
from ..cache.shard import digest_bytes, shard_bytes
from ..cache.spec import FeatureSpec
from ..errors import StorageError, TlxError
from .backbones.family import Backbone
from .backbones.registry import get_backbone
from .clusters.pool import check_version, worker_name
from .engines.engine import Engine
from .engines.registry import load_engine
from .extract import Outcome, Target, extract_all
from .images import DECODER_REVISION
from .remote import Options, forget_archives, storage_options
from .urls import remember_signed


@dataclass(frozen=True)
class Wanted:
    """One spec that a worker is to compute, with its augmented views.

    Attributes
    ----------
    spec : str
        Canonical JSON, of the plain image.
    weights : str
        As they were asked for; with the spec's backbone this finds the network.
    engine : str or Engine
    known : tuple of bytes
        One a view, the plain image first: all digests, one after another, that are stored.
    """

    spec: str
    weights: str
    engine: str | Engine
    known: tuple[bytes, ...]


@dataclass(frozen=True, eq=False)
class Job:
    """What is the same for all parts.

    Attributes
    ----------
    wanted : tuple of Wanted
    measured : bytes or None
        Digests of images of which it is known what they look like; None if nobody asks.
    cache : str
        Folder of the features.
    token : str
        Path of a file that holds `owner`, for a worker to see whether it is the same folder; ""
        if features are to be returned.
    owner : str
        The process to which shards are handed over.
    version : str
        Of the tlx there.
    options : Options
        How object storage is reached; it lives in memory alone, here as there.
    signed : dict of str to str
        Of `tlx.embed.urls.signed_urls`; in memory alone as well.
    """

    wanted: tuple[Wanted, ...]
    measured: bytes | None
    cache: str
    token: str
    owner: str
    version: str = __version__
    options: Options = field(default=None, repr=False)
    signed: dict[str, str] = field(default_factory=dict, repr=False)


@dataclass
class PartResult:
    """What became of a part.

    Attributes
    ----------
    outcomes : list of Outcome
        One a file, without features.
    shards : list of Path, bytes or None
        One a target: a shard that was handed over, or its bytes; None if nothing was computed.
    rows : list of list of int
        Which outcomes the rows of a shard belong to, by target.
    engines : list of (str, str)
        Name and note of the engine of each spec; ("", "") of one that was not needed.
    """

    outcomes: list[Outcome] = field(default_factory=list)
    shards: list[Path | bytes | None] = field(default_factory=list)
    rows: list[list[int]] = field(default_factory=list)
    engines: list[tuple[str, str]] = field(default_factory=list)


def embed_part(job: Job, files: Sequence[Any]) -> PartResult:
    """Read, decode and embed the images of a part.

    Parameters
    ----------
    job : Job
    files : sequence of str
        As `extract_all` takes them.

    Raises
    ------
    TlxError
        If this worker would compute other features than the job wants, or none.
    """
    opened = _open(job)
    result = PartResult()
    features: list[list[np.ndarray]] = [[] for _ in opened.targets]
    result.rows = [[] for _ in opened.targets]
    with storage_options(job.options):
        for outcome in extract_all(files, opened.targets, opened.measured):
            for k, feature in enumerate(outcome.features):
                if feature is not None:
                    features[k].append(feature.copy())
                    result.rows[k].append(len(result.outcomes))
            outcome.features = [None] * len(opened.targets)
            result.outcomes.append(outcome)
    for target, rows, some in zip(opened.targets, result.rows, features, strict=True):
        result.shards.append(_shard(job, target.spec, rows, some, result) if rows else None)
    result.engines = [one.told() for one in opened.networks]
    return result


def _shard(
    job: Job,
    spec: FeatureSpec,
    rows: list[int],
    features: list[np.ndarray],
    result: PartResult,
) -> Path | bytes:
    """Hand features over as a file where the workspace can be seen, or else as its bytes."""
    digests = b"".join(result.outcomes[row].digest or b"" for row in rows)
    data = shard_bytes(
        spec.json, np.frombuffer(digests, np.uint8).reshape(-1, 32), np.stack(features)
    )
    with suppress(StorageError):  # it may be seen and not written
        if _sees(job):
            return hand_over(Path(job.cache, fingerprint_of(spec.json)), job.owner, data)
    return data


def _sees(job: Job) -> bool:
    try:
        return bool(job.token) and Path(job.token).read_text() == job.owner
    except OSError:
        return False


class _Network:
    """One network, opened when it is needed first."""

    def __init__(self, backbone: Backbone, spec: FeatureSpec, engine: str | Engine) -> None:
        self._backbone, self._spec = backbone, spec
        self._name = engine if isinstance(engine, str) else ""
        self.engine = None if isinstance(engine, str) else engine

    def open(self) -> Engine:
        if self.engine is None:
            self.engine = load_engine(self._backbone, self._spec, self._name)
        return self.engine

    def told(self) -> tuple[str, str]:
        return (self.engine.name, self.engine.note) if self.engine else ("", "")


@dataclass
class _Opened:
    """What a worker keeps from part to part."""

    networks: list[_Network]
    targets: list[Target]
    measured: set[bytes] | None


@functools.lru_cache(maxsize=1)
def _open(job: Job) -> _Opened:
    check_version(worker_name(), __version__, job.version)
    remember_signed(job.signed)
    forget_archives()
    opened = _Opened([], [], None if job.measured is None else _set(job.measured))
    for one in job.wanted:
        spec = FeatureSpec.from_json(one.spec)
        backbone = get_backbone(spec.backbone, one.weights)
        check_spec(spec, backbone)
        network = _Network(backbone, spec, one.engine)
        opened.networks.append(network)
        opened.targets += [
            Target(dataclasses.replace(spec, view=view), network.open, _set(known))
            for view, known in enumerate(one.known)
        ]
    return opened


def _set(digests: bytes) -> set[bytes]:
    return set(digest_bytes(np.frombuffer(digests, np.uint8).reshape(-1, 32)))


def check_spec(spec: FeatureSpec, backbone: Backbone) -> None:
    """Raise a `TlxError` if this process would compute other features than those of `spec`."""
    here = dataclasses.replace(
        spec,
        backbone=backbone.name,
        weights=backbone.weights_digest,
        preprocessing=backbone.preprocessing,
        decoder=DECODER_REVISION,
    )
    for name, (wanted, found) in spec.difference(here).items():
        what = "the same weights file" if name == "weights" else f"tlx-vision=={__version__}"
        raise TlxError(
            f"worker {worker_name()} would compute other features: {name} is {found} there, and "
            f"{wanted} here.",
            f"Give it {what}, or leave it out of the cluster.",
        )
