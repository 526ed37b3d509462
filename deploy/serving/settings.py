"""How a run is to be served: where, to whom, and how much of it."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from pathlib import Path

from ...errors import DataError

_SHORTEST_TOKEN = 8


@dataclass(frozen=True)
class Settings:
    """What `tlx serve` was asked for.

    Parameters
    ----------
    run : Path
        Folder of the run.
    host, port : str and int
        Where to listen; port 0 is any free one.
    token : str or None
        What a request must bring as ``Authorization: Bearer TOKEN``; None asks for none.
    insecure : bool
        Whether others may ask without a token.
    origins : tuple of str
        Pages of these addresses may use the API, as ``https://example.org``.
    reject : float or None
        See `tlx.predict_images`.
    engine : str
    trusted : tuple of str
        See `tlx.load_run`.
    workers : int
        Processes.
    max_bytes, max_files : int
        Of one request.
    max_pixels : int
        Of one photo.
    seconds : float
        In which a request must have arrived.
    queue : int
        Images that may wait; what comes when it is full is told to come later.
    """

    run: Path
    host: str = "127.0.0.1"
    port: int = 8000
    token: str | None = None
    insecure: bool = False
    origins: tuple[str, ...] = ()
    reject: float | None = None
    engine: str = "auto"
    trusted: tuple[str, ...] = ()
    workers: int = 1
    max_bytes: int = 32 * 2**20
    max_files: int = 32
    max_pixels: int = 64_000_000
    seconds: float = 30.0
    queue: int = 128

    @property
    def is_local(self) -> bool:
        """Whether only this machine can reach the server."""
        return is_loopback(self.host)


def check_settings(settings: Settings) -> None:
    """Refuse what would be unsafe, or what cannot be.

    Raises
    ------
    DataError
        If others could ask without a token and that is not allowed expressly, the token is too
        short or not printable, or an origin is none.
    """
    token = settings.token
    if token is not None and (
        len(token) < _SHORTEST_TOKEN or not token.isascii() or not token.isprintable()
        or " " in token
    ):  # fmt: skip
        raise DataError(
            f"a token needs {_SHORTEST_TOKEN} or more printable ASCII characters without spaces.",
            "Make one: python -c 'import secrets; print(secrets.token_urlsafe())'",
        )
    if token is None and not settings.is_local and not settings.insecure:
        raise DataError(
            f"--host {settings.host} lets other machines in, and there is no token to ask for.",
            "Set TLX_TOKEN (or --token) to a secret, or say --insecure if anybody may ask.",
        )
    for origin in settings.origins:
        scheme, found, host = origin.partition("://")
        if scheme not in ("http", "https") or not found or not host or set("/?#* ") & set(host):
            raise DataError(
                f"{origin!r} is no origin of a page.", "Give it as https://example.org, no path."
            )


def is_loopback(host: str) -> bool:
    """Tell whether a host name or address is that of this machine alone.

    Examples
    --------
    >>> [is_loopback(host) for host in ("localhost", "127.0.0.2", "::1", "0.0.0.0", "")]
    [True, True, True, False, False]
    """
    if host.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False
