"""Images behind https:// and http:// URLs, by the standard library alone."""

from __future__ import annotations

import contextlib
import errno
import http.client
import shutil
import tempfile
import time
import urllib.error
import urllib.request
from contextlib import AbstractContextManager
from email.utils import parsedate_to_datetime
from typing import Any, BinaryIO, NoReturn
from urllib.parse import quote

from .._version import __version__
from ..errors import DataError, StorageError
from .archive import Listed, stamp_of
from .trouble import FetchError, of_status
from .urls import full_url

_SECONDS = 30  # without a byte
SECONDS = 120  # for so many bytes:
FIRST = 16 * 2**20
_NO_HEAD = (400, 403, 405, 501)  # of servers, or signatures, that allow GET alone


def list_folder(url: str) -> list[Listed]:
    """Raise, as the web has no folders.

    Raises
    ------
    DataError
    """
    raise DataError(
        f"{url} is no CSV file and no archive, and a web server lists no folders.",
        "Name a CSV file of URLs, such as https://host/labels.csv, or a .zip or .tar archive.",
    )


def stat(url: str) -> tuple[int, int]:
    """Return size and stamp of what a URL leads to; -1 for what the server does not say."""
    try:
        with _open(url, "HEAD") as answer:
            headers, status = answer.headers, 200
    except FetchError as trouble:
        if trouble.status not in _NO_HEAD:
            raise
        with _open(url, "GET", {"Range": "bytes=0-0"}) as answer:
            headers, status = answer.headers, answer.status
    said = headers.get("Content-Range", "").rpartition("/")[2] if status == 206 else None
    size = headers.get("Content-Length", "") if said is None else said
    version = headers.get("ETag") or _modified(headers.get("Last-Modified", ""))
    return int(size) if size.isdigit() else -1, stamp_of(version) if version else -1


def _modified(text: str) -> str:
    """Return a time that may tell a change: one that is some seconds ago."""
    try:
        age = time.time() - parsedate_to_datetime(text).timestamp()
    except (ValueError, TypeError):
        return ""
    return text if age > 2 else ""


def read(url: str, most: int, large: AbstractContextManager[Any]) -> bytes:
    """Return the first `most` bytes of what a URL leads to; `large` is held beyond 16 MiB."""
    with _open(url, "GET") as answer:
        data = _body(answer, min(most, FIRST))
        if len(data) == FIRST < most:
            with large:
                data += _body(answer, most - FIRST)
        expected = answer.length  # of the body, how much is left; None if the server did not say
    if len(data) < most and expected:
        raise FetchError("its end is missing", again=True)
    return data


def _body(answer: Any, most: int) -> bytes:
    until = time.monotonic() + SECONDS * max(1, most / FIRST)
    pieces, left = [], most
    while left > 0 and (piece := _piece(answer, min(left, 2**18))):
        pieces.append(piece)
        left -= len(piece)
        if time.monotonic() > until:
            raise FetchError("it comes too slowly", again=True)
    return b"".join(pieces)


def open_whole(url: str) -> BinaryIO:
    """Return what a URL leads to as a file without a name."""
    whole: Any = tempfile.TemporaryFile()  # noqa: SIM115 - the caller closes it
    try:
        with _open(url, "GET") as answer:
            shutil.copyfileobj(answer, whole, 2**20)
            if answer.length:
                raise FetchError("its end is missing", again=True)
        whole.seek(0)
        return whole
    except (OSError, http.client.HTTPException) as error:
        with contextlib.suppress(OSError):
            whole.close()
        if getattr(error, "errno", 0) == errno.ENOSPC:
            raise StorageError(
                f"no room for {url} in {tempfile.gettempdir()}.",
                "Make room there, or set TMPDIR to a folder that has some.",
            ) from None
        _raise(error)


def _piece(answer: Any, size: int) -> bytes:
    try:
        return answer.read(size)
    except (OSError, http.client.HTTPException) as error:
        _raise(error)


def _open(url: str, method: str, headers: dict[str, str] | None = None) -> Any:
    """Return the answer to a request."""
    # What a name may hold and a request may not, line ends first of all.
    request = urllib.request.Request(
        quote(full_url(url), safe="/:?#[]@!$&'()*+,;=%~-._"),
        headers={"User-Agent": f"tlx/{__version__}", **(headers or {})},
        method=method,
    )
    try:
        return _OPENER.open(request, timeout=_SECONDS)
    except (OSError, http.client.HTTPException, ValueError) as error:
        _raise(error)


def _raise(error: Exception) -> NoReturn:
    """Raise what went wrong without a word of the server's or of the URL."""
    if isinstance(error, FetchError):
        raise error
    if isinstance(error, urllib.error.HTTPError):
        error.close()
        if 300 <= error.code < 400:
            raise FetchError("it is redirected to what is not the web") from None
        raise of_status(error.code) from None
    reason = getattr(error, "reason", error)
    if isinstance(reason, TimeoutError):
        raise FetchError("it takes too long", again=True) from None
    if isinstance(error, ValueError | http.client.InvalidURL):
        raise FetchError("not a URL that can be fetched") from None
    if isinstance(reason, http.client.HTTPException | ConnectionResetError):
        raise FetchError("the connection broke", again=True) from None
    if "CERTIFICATE" in str(reason):
        raise FetchError("the certificate of the server is not trusted") from None
    raise FetchError("the server cannot be reached", again=True) from None


class _WebOnly(urllib.request.HTTPRedirectHandler):
    """Follows redirects within the web alone."""

    def redirect_request(self, req: Any, fp: Any, code: int, msg: str, headers: Any, newurl: str):
        """Return the next request."""
        if not newurl.lower().startswith(("https://", "http://")):
            fp.close()
            raise FetchError("it is redirected to what is not the web")
        if req.full_url.startswith("https:") and not newurl.lower().startswith("https:"):
            fp.close()
            raise FetchError("it is redirected from https:// to http://")
        again = super().redirect_request(req, fp, code, msg, headers, newurl)
        if again is not None and req.get_method() == "HEAD":
            again.method = "HEAD"
        return again


_OPENER = urllib.request.OpenerDirector()
for _handler in (
    urllib.request.ProxyHandler,
    urllib.request.HTTPHandler,
    urllib.request.HTTPSHandler,
    urllib.request.HTTPDefaultErrorHandler,
    urllib.request.HTTPErrorProcessor,
    _WebOnly,
):
    _OPENER.add_handler(_handler())
