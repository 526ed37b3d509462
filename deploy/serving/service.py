"""The run behind a server: photos in, what `tlx predict --json` says of them out."""

from __future__ import annotations

import asyncio
import logging
import os
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any, BinaryIO, NamedTuple

import numpy as np

from ...classify.decision import make_decision
from ...classify.opened import Judged, Looks, OpenedRun, Prediction, label_judged, predictions_dict
from ...classify.runs.best import load_run
from ...errors import ImageError
from .batcher import Batcher, QueueFullError
from .drift import Drift
from .metrics import Metrics
from .problem import ProblemError, busy
from .settings import Settings
from .tensors import INPUT, OUTPUT

_log = logging.getLogger("tlx.serve")
_NAME = 255  # characters of a file's name that are given back


class Photo(NamedTuple):
    """One image of a request.

    Attributes
    ----------
    name : str
        As the client calls it; it is given back, and no file of that name is ever touched.
    file : BinaryIO
        What it holds.
    """

    name: str
    file: BinaryIO


class Service:
    """A run that predicts for many at once.

    Parameters
    ----------
    settings : Settings

    Attributes
    ----------
    settings : Settings
    run : Run
    metrics : Metrics
    is_ready : bool
        Whether the first inference is done.

    Raises
    ------
    TlxError
        If the run is not there, or cannot promise as little error as `settings.reject`.
    """

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.run = load_run(str(settings.run), trusted=settings.trusted)
        self.decision = make_decision(self.run, reject=settings.reject)
        self.metrics = Metrics(self.run.class_names)
        self.is_ready = False
        neighbours = self.decision.neighbours
        self.drift = (
            None if neighbours is None else Drift(neighbours.level, len(neighbours.distances))
        )
        if self.drift is not None:
            self.metrics.expected_strangers.set(self.drift.level)
        self.batcher = Batcher(self._compute, settings.queue)
        self._decoders = ThreadPoolExecutor(os.cpu_count(), thread_name_prefix="tlx-decode")
        self._opened: OpenedRun | None = None

    def open(self) -> None:
        """Load the networks and predict once; it takes about a second.

        Raises
        ------
        WeightsError
            If the backbone's weights are not those that the run was trained with.
        """
        opened = OpenedRun(self.run, self.settings.engine)
        grey = [np.full((size, size, 3), 128, np.uint8) for size in opened.image_sizes]
        opened.judge([grey])
        self._opened, self.is_ready = opened, True

    @property
    def opened(self) -> OpenedRun:
        """The run with its networks.

        Raises
        ------
        ProblemError
            If they are still being loaded.
        """
        if self._opened is None:
            raise busy("The network is being loaded. Come again in a second.")
        return self._opened

    def check_room(self) -> None:
        """Refuse before a body is read what could not be taken in.

        Raises
        ------
        ProblemError
            503 if the networks are still being loaded, or the queue is full.
        """
        _ = self.opened
        if self.batcher.is_full:
            self.metrics.refused.inc()
            raise busy()

    def pixels_side(self) -> int:
        """Return the side of the pixels that `infer` takes.

        Raises
        ------
        ProblemError
            If the run does not look at one square of pixels alone.
        """
        side = self.opened.pixels_side
        if side is None:
            raise ProblemError(400, "This run looks at images in several ways: use /predict.")
        return side

    def description(self) -> dict[str, Any]:
        """Return the model's metadata as the Open Inference Protocol has them, and some more."""
        run, side = self.run, self.opened.pixels_side
        accuracy = run.metrics["accuracy"]
        told: dict[str, Any] = {
            "name": run.id,
            "platform": "tlx",
            "inputs": [],
            "outputs": [{"name": OUTPUT, "datatype": "FP32", "shape": [-1, len(run.class_names)]}],
            "parameters": {
                "class_names": list(run.class_names),
                "accuracy": {"value": accuracy.value, "low": accuracy.low, "high": accuracy.high},
                "max_files": self.settings.max_files,
                "max_bytes": self.settings.max_bytes,
            },
        }
        if side is not None:
            told["inputs"] = [{"name": INPUT, "datatype": "UINT8", "shape": [-1, side, side, 3]}]
        return told

    async def predict(self, photos: Sequence[Photo]) -> dict[str, Any]:
        """Return what the run says of photos, as ``tlx predict --json`` prints it.

        Raises
        ------
        ProblemError
            503 if the queue is full.
        """
        opened = self.opened
        with self._room(len(photos)):
            asked = (self._one(opened, photo) for photo in photos)
            found = await asyncio.gather(*asked, return_exceptions=True)
        for one in found:  # only now, as places are held for as long as any is at work
            if isinstance(one, BaseException):
                raise one
        judged = [one for one in found if isinstance(one, Judged)]
        labelled = iter(label_judged(judged, self.decision))
        rows = []
        for photo, one in zip(photos, found, strict=True):
            name = photo.name[:_NAME]
            said = Prediction(name, error=one) if isinstance(one, str) else next(labelled)
            rows.append(replace(said, path=name))
        self._count(rows)
        return predictions_dict(self.run, rows, self.decision)

    async def infer(self, pixels: np.ndarray) -> np.ndarray:
        """Return the probabilities (N, C) float32 of pixels (N, S, S, 3) uint8.

        Raises
        ------
        ProblemError
            503 if the queue is full.
        """
        looks = len(self.opened.image_sizes)
        with self._room(len(pixels)):
            found = await asyncio.gather(*(self.batcher.submit([one] * looks) for one in pixels))
        if wrong := [one for one in found if isinstance(one, ImageError)]:
            raise ProblemError(400, wrong[0].cause)
        labelled = label_judged(found, self.decision)
        self._count(labelled)
        return np.array([[*(row.probabilities or {}).values()] for row in labelled], np.float32)

    async def close(self) -> None:
        """Stop all threads."""
        await self.batcher.close()
        self._decoders.shutdown(wait=False, cancel_futures=True)

    def _room(self, n: int) -> Any:
        return _Room(self, n)

    async def _one(self, opened: OpenedRun, photo: Photo) -> Judged | str:
        """Return what the run says of one photo, or why it says nothing."""
        loop = asyncio.get_running_loop()
        try:
            looks = await loop.run_in_executor(self._decoders, self._decode, opened, photo)
            judged = await self.batcher.submit(looks)
        except ImageError as error:
            return error.cause
        except MemoryError:
            return "not enough memory to decode it"
        return judged.cause if isinstance(judged, ImageError) else judged

    def _decode(self, opened: OpenedRun, photo: Photo) -> Looks:
        data = photo.file.read()  # here, so that no more are held than are decoded at once
        with self.metrics.stage.labels("decode").time():
            return opened.decode(data, self.settings.max_pixels)

    def _compute(self, images: Sequence[Looks]) -> list[Judged | ImageError]:
        start = time.perf_counter()
        found = self.opened.judge(images)
        self.metrics.stage.labels("compute").observe(time.perf_counter() - start)
        self.metrics.batch.observe(len(images))
        return found

    def _count(self, rows: Sequence[Prediction]) -> None:
        """Count what was said, and tell if what arrives is no longer what was learned from."""
        metrics, rejection = self.metrics, self.decision.rejection
        for row in rows:
            if row.error:
                metrics.unreadable.inc()
                continue
            metrics.predictions.labels(row.label).inc()
            if rejection is not None and row.label not in self.run.class_names:
                level = rejection.strangers
                strange = level is not None and (row.stranger or 1) <= level
                metrics.rejections.labels("stranger" if strange else "unsure").inc()
        if self.drift is not None:
            told = self.drift.look(row.stranger for row in rows if row.stranger is not None)
            metrics.strangers.set(self.drift.share)
            if told:
                _log.warning(told)


class _Room:
    """Places in the queue, counted; a full queue is a refusal."""

    def __init__(self, service: Service, n: int) -> None:
        self._service, self._room = service, service.batcher.room(n)

    def __enter__(self) -> None:
        try:
            self._room.__enter__()
        except QueueFullError:
            self._service.metrics.refused.inc()
            raise busy() from None
        self._service.metrics.queue.set(self._service.batcher.held)

    def __exit__(self, *error: Any) -> None:
        self._room.__exit__(*error)
        self._service.metrics.queue.set(self._service.batcher.held)
