"""What a server counts, for Prometheus."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

# Set before this module is imported where several processes answer: their counts are added up.
MULTIPROCESS = "PROMETHEUS_MULTIPROC_DIR"
_SECONDS = (0.005, 0.01, 0.02, 0.03, 0.05, 0.075, 0.1, 0.2, 0.3, 0.5, 1, 2, 5, 10)
_SIZES = (1, 2, 4, 8)


class Metrics:
    """Counters, times and levels of one server.

    Parameters
    ----------
    class_names : sequence of str
        Each starts at 0.
    """

    def __init__(self, class_names: Sequence[str]) -> None:
        from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

        own = self._registry = CollectorRegistry()

        def make(kind: Any, name: str, text: str, labels: tuple[str, ...] = (), **more: Any) -> Any:
            return kind(f"tlx_{name}", text, labels, registry=own, **more)

        live: dict[str, Any] = {"multiprocess_mode": "livesum"}
        self.requests = make(Counter, "requests", "Requests answered.", ("route", "status"))
        self.latency = make(
            Histogram, "request_seconds", "From the first byte to the answer.", ("route",),
            buckets=_SECONDS,
        )  # fmt: skip
        self.stage = make(
            Histogram, "stage_seconds", "Decoding an image; computing a batch.", ("stage",),
            buckets=_SECONDS,
        )  # fmt: skip
        self.batch = make(Histogram, "batch_images", "Images of a batch.", buckets=_SIZES)
        self.queue = make(Gauge, "queue_images", "Images being decoded, waiting, computed.", **live)
        self.refused = make(Counter, "refused", "Requests refused as the queue was full.")
        self.predictions = make(
            Counter, "predictions", "Images by what they were called.", ("label",)
        )
        self.rejections = make(
            Counter, "rejections", "Images called unknown: unsure, or like none.", ("reason",)
        )
        self.unreadable = make(Counter, "unreadable_images", "Images that could not be read.")
        share: dict[str, Any] = {"multiprocess_mode": "livemostrecent"}
        self.strangers = make(
            Gauge, "stranger_share", "Share of the last images like none learned from.", **share
        )
        self.expected_strangers = make(
            Gauge, "stranger_share_expected", "That of images like the scored ones.", **share
        )
        for name in class_names:
            self.predictions.labels(name)
        for reason in ("unsure", "stranger"):
            self.rejections.labels(reason)

    def page(self) -> bytes:
        """Return the counts as Prometheus reads them, of all processes together."""
        from prometheus_client import CollectorRegistry, generate_latest, multiprocess

        registry = self._registry
        if MULTIPROCESS in os.environ:
            registry = CollectorRegistry()
            multiprocess.MultiProcessCollector(registry)
        return generate_latest(registry)
