"""tlx: transfer learning on images, from cached embeddings to a classifier one can trust.

The commands ``tlx embed``, ``tlx fit-head`` and ``tlx predict`` are thin over the functions here.
Nothing heavy is imported before it is used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from ._version import __version__

if TYPE_CHECKING:
    from . import heads
    from .classify.audit import audit_run
    from .classify.compare import compare_heads
    from .classify.curve import learning_curve
    from .classify.evaluate import evaluate_run
    from .classify.fit import evaluate_features, fit_head, fit_heads
    from .classify.predict import predict_images
    from .classify.runs.best import load_run
    from .classify.runs.store import list_runs
    from .classify.table import Features, load_features
    from .deploy.export import export_run
    from .embed.embedder import ImageEmbedder
    from .embed.pipeline import embed_images
    from .embed.remote import storage_options
    from .errors import TlxError
    from .finetune.api import finetune_head
    from .relabel import relabel_images
    from .report.write import write_report

_HOME = {
    "Features": ".classify.table",
    "ImageEmbedder": ".embed.embedder",
    "TlxError": ".errors",
    "audit_run": ".classify.audit",
    "compare_heads": ".classify.compare",
    "embed_images": ".embed.pipeline",
    "evaluate_features": ".classify.fit",
    "evaluate_run": ".classify.evaluate",
    "export_run": ".deploy.export",
    "finetune_head": ".finetune.api",
    "fit_head": ".classify.fit",
    "fit_heads": ".classify.fit",
    "heads": ".heads",
    "learning_curve": ".classify.curve",
    "list_runs": ".classify.runs.store",
    "load_features": ".classify.table",
    "load_run": ".classify.runs.best",
    "predict_images": ".classify.predict",
    "relabel_images": ".relabel",
    "storage_options": ".embed.remote",
    "write_report": ".report.write",
}

__all__ = [
    "Features",
    "ImageEmbedder",
    "TlxError",
    "__version__",
    "audit_run",
    "compare_heads",
    "embed_images",
    "evaluate_features",
    "evaluate_run",
    "export_run",
    "finetune_head",
    "fit_head",
    "fit_heads",
    "heads",
    "learning_curve",
    "list_runs",
    "load_features",
    "load_run",
    "predict_images",
    "relabel_images",
    "storage_options",
    "write_report",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module = importlib.import_module(_HOME[name], __name__)
    return module if name == "heads" else getattr(module, name)


def __dir__() -> list[str]:
    return __all__
