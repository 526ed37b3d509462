"""All kinds of cluster, read from the files beside this one, and the one that is asked for."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping

from ...errors import UnknownNameError
from ...lazy_imports import import_beside
from .pool import ClusterKind, Pool


@functools.cache
def cluster_kinds() -> Mapping[str, ClusterKind]:
    """Return all kinds of cluster by name.

    They are the modules of `tlx.embed.clusters` that have a `KIND`. None of these imports its
    library before it is opened.

    Examples
    --------
    >>> [kind.form for kind in cluster_kinds().values()][1]
    'processes:N'
    """
    modules = import_beside(__package__ or "")
    kinds = [module.KIND for module in modules if hasattr(module, "KIND")]
    return {kind.name: kind for kind in kinds}


def find_cluster(address: str) -> Callable[[], Pool]:
    """Return what opens the cluster at an address, which is checked, and not yet asked for.

    Parameters
    ----------
    address : str
        Such as ``"processes:4"``, ``"dask://HOST:PORT"`` or ``"ray://HOST:PORT"``.

    Raises
    ------
    UnknownNameError
        If there is no such kind.
    DataError
        If the address is not of the form that its kind has.
    MissingExtraError
        If its library is not installed.
    """
    name, _, rest = address.partition(":")
    kinds = cluster_kinds()
    if name not in kinds:
        forms = ", ".join(kind.form for kind in kinds.values())
        raise UnknownNameError(f"unknown cluster: {address!r}.", f"Use one of: {forms}.")
    kinds[name].check(rest)
    return lambda: kinds[name].open(rest)
