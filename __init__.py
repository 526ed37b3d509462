"""tlx: transfer learning on images, from cached embeddings to a trusted classifier."""

from ._version import __version__

__all__ = ["__version__"]
