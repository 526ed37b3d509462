"""Images that are no files here: in object storage, on the web, and in archives.

All of them by one contract: what there is (`listing`), which version (`stat`), and what it holds
(`read`). A place is a string: a URL, or a path that leads through an archive, of either kind:
``s3://bucket/photos``, ``data/photos.zip/cats/1.jpg``, ``https://host/photos.tar/cats/1.jpg``.
Size, and a stamp made of ETag, version or time, play the part of a file's size and time.
"""

from __future__ import annotations

import contextlib
import functools
import json
import os
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import unquote

from ..arguments import says_nearest_argument
from ..errors import DataError, MissingExtraError, TlxError
from ..workspace import whole_path
from . import web
from .archive import Archive, Listed, local_archive, open_archive, split_archive, stamp_of
from .headers import MAX_BYTES
from .trouble import FetchError, trouble_of
from .urls import OBJECT_STORES, WEB, clean_url, is_url, scheme_of

IN_FLIGHT = 32  # requests at a time
RETRY_SECONDS = 15.0  # of what a command needs before its work
_VERSION = ("ETag", "etag", "generation", "md5Hash", "LastModified", "last_modified", "updated")
_VERSION += ("modified", "mtime", "created")  # what fsspec's file systems call it, the best first
_ENVIRONMENT = ("AWS_", "AZURE_", "GOOGLE_", "GCLOUD_", "FSSPEC_")
_S3 = {
    "connect_timeout": 10,
    "read_timeout": 30,
    "max_pool_connections": IN_FLIGHT,
    "retries": {"total_max_attempts": 2},
}

Options = str | os.PathLike[str] | Mapping[str, Any] | None
T = TypeVar("T")

_given: list[Options] = [None]  # the innermost last
_LARGE, _OPENING = threading.Lock(), threading.Lock()


@says_nearest_argument
@contextlib.contextmanager
def storage_options(options: Options) -> Iterator[None]:
    """Read object storage by these options of fsspec within a ``with`` statement.

    They are kept in memory alone, and nothing of them is written down: credentials are better in
    the environment, where the provider's own tools have them as well.

    Parameters
    ----------
    options : mapping, path or None
        What ``s3fs.S3FileSystem``, ``gcsfs.GCSFileSystem`` or ``adlfs.AzureBlobFileSystem`` takes,
        or a JSON file of that; None changes nothing.

    Raises
    ------
    DataError
        If the file cannot be read, or holds no JSON object.

    Examples
    --------
    >>> import tlx
    >>> with tlx.storage_options({"endpoint_url": "http://localhost:9000"}):
    ...     pass  # tlx.embed_images("s3://bucket/photos")
    """
    _given.append(_given[-1] if options is None else _loaded(options))
    try:
        yield
    finally:
        _given.pop()


def given_options() -> Options:
    """Return the options that hold now, for a process that is to read as this one does."""
    return _given[-1]


def _loaded(options: Options) -> Options:
    if options is None or isinstance(options, Mapping):
        return options
    path, remedy = os.fspath(options), 'It must hold what fsspec takes, as {"anon": true}.'
    try:
        found = json.loads(Path(path).read_bytes())
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}.", "Check the path.") from None
    except ValueError:
        raise DataError(f"{path} is no JSON file.", remedy) from None
    if not isinstance(found, dict):
        raise DataError(f"{path} holds no JSON object.", remedy)
    return found


def locate(source: str | os.PathLike[str]) -> str | None:
    """Return the place that `source` names; None if that is a file or folder of this machine.

    ``file://`` is a path, and ``zip://inside::archive`` is written ``archive/inside``.

    Raises
    ------
    DataError
        If it is a URL that is not read.

    Examples
    --------
    >>> locate("s3://bucket/photos/"), locate("zip://cats::s3://bucket/a.zip"), locate("photos")
    ('s3://bucket/photos', 's3://bucket/a.zip/cats', None)
    """
    text = local_path(os.fspath(source))
    if is_url(text):
        return clean_url(text).rstrip("/")
    path = str(whole_path(text))
    return path if not os.path.isdir(path) and local_archive(path) else None


def local_path(text: str) -> str:
    """Return what ``file://`` and chains of archives are when written as paths, and all else."""
    scheme = scheme_of(text)
    if scheme in ("zip", "tar"):
        inside, chain, outer = text.split("://", 1)[1].partition("::")
        if not chain:  # zip:///path/photos.zip
            return inside
        return f"{local_path(outer)}/{inside}".rstrip("/")
    if scheme in ("file", "local"):
        path = text.split("://", 1)[1]
        return path if os.path.exists(path) else unquote(path)
    return text


def listing(place: str) -> Iterator[Listed]:
    """Yield path (relative to `place`), size and stamp of all that lies below it.

    Raises
    ------
    DataError
        If it cannot be listed, with what to do.
    """
    try:
        opened = _archive(place)
        if opened is None:
            yield from _retried(lambda: _list(place))
            return
        archive, inside = opened
        start = f"{inside}/" if inside else ""
        for path, version in archive.versions.items():
            if path.startswith(start):
                yield path[len(start) :], *version
    except FetchError as trouble:
        raise trouble.data_error(place) from None


def read_early(file: str) -> bytes:
    """Return what a file holds that is needed before the work, and tried again for some seconds."""
    return _retried(lambda: read(file))


def stat(file: str) -> tuple[int, int]:
    """Return the size of one file, and a stamp; -1 for either that is not known.

    Raises
    ------
    FetchError, FileNotFoundError
    """
    opened = _archive(file)
    if opened is not None:
        archive, inside = opened
        if inside not in archive.versions:
            raise FetchError("it is not in its archive", status=404)
        return archive.versions[inside]
    return _stat_object(file)


def _stat_object(url: str) -> tuple[int, int]:
    if scheme_of(url) in WEB:
        return _retried(lambda: web.stat(url))
    return _retried(lambda: _version(_call(_filesystem(url).info, url)))


def stat_all(files: list[str]) -> list[tuple[int, int, str]]:
    """Return size and stamp of many files, and why that is not known, "" if it is.

    Raises
    ------
    DataError
        If 32 fail one after another for a reason that may pass: it is not these files.
    """
    failed, gone = 0, None

    def one(file: str) -> tuple[int, int, str]:
        nonlocal failed, gone
        if gone is not None:
            raise gone
        try:
            size, stamp = stat(file)
        except OSError as error:
            failed = failed + 1 if isinstance(error, FetchError) and error.again else 0
            if failed >= IN_FLIGHT and isinstance(error, FetchError):
                gone = error.data_error(file)
                raise gone from None
            return 0, 0, (error.strerror or str(error)).lower()
        except DataError as error:
            return 0, 0, error.cause
        failed = 0
        return size, stamp, ""

    with ThreadPoolExecutor(IN_FLIGHT, thread_name_prefix="tlx-stat") as executor:
        return list(executor.map(one, files))


def read(
    file: str, most: int = MAX_BYTES + 1, large: AbstractContextManager[Any] | None = None
) -> bytes:
    """Return what a file holds, at most its first `most` bytes.

    Parameters
    ----------
    file : str
        As `locate` gives it, with a path behind it.
    most : int
    large : context manager, optional
        Held while the rest of a file above 16 MiB is fetched: by default one is at a time.

    Raises
    ------
    FetchError, FileNotFoundError
        If it could not be had.
    ImageError
        If it is damaged in its archive.
    """
    opened = _archive(file)
    if opened is not None:
        archive, inside = opened
        is_large = archive.versions.get(inside, (0, 0))[0] > web.FIRST
        with large if large and is_large else contextlib.nullcontext():
            return archive.read(inside)
    if scheme_of(file) in WEB:
        return web.read(file, most, large or _LARGE)
    return _read_object(file, most, large or _LARGE)


def _retried(call: Callable[[], T]) -> T:
    """Return what a call returns, which is tried again for a while."""
    until, wait = time.monotonic() + RETRY_SECONDS, 0.2
    while True:
        try:
            return call()
        except FetchError as trouble:
            if not trouble.again or time.monotonic() + wait > until:
                raise
        time.sleep(wait)
        wait *= 2


def _archive(place: str) -> tuple[Archive, str] | None:
    """Return the archive that a place leads through, and the path inside."""
    if is_url(place):
        for path, inside in split_archive(place):
            with _OPENING:
                key = path, _options_key()
                return _opened_url(*key, *_seen(*key)), inside
    elif found := local_archive(place):
        said = os.stat(found[0])
        with _OPENING:
            return _opened(found[0], said.st_mtime_ns, said.st_size), found[1]
    return None


@functools.lru_cache(maxsize=4)
def _opened(path: str, mtime_ns: int, size: int) -> Archive:
    try:
        return open_archive(open(path, "rb"), path, mtime_ns)
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}.", "Check it.") from error


def forget_archives() -> None:
    """Ask for the versions of archives that are not here again, as whatever starts anew does."""
    _seen.cache_clear()


@functools.lru_cache(maxsize=64)
def _seen(url: str, options: str) -> tuple[int, object]:
    """Return the version of an archive, and what makes each look another if it has none."""
    stamp = _stat_object(url)[1]
    return stamp, object() if stamp == -1 else None


@functools.lru_cache(maxsize=4)
def _opened_url(url: str, options: str, stamp: int, look: object) -> Archive:
    if scheme_of(url) in WEB:
        return open_archive(_retried(lambda: web.open_whole(url)), url, stamp)

    def opened() -> Archive:
        stream: Any = _Stream(_call(_filesystem(url).open, url, "rb"))
        return open_archive(stream, url, stamp)

    return _retried(opened)


class _Stream:
    """An object as a file that raises `FetchError`, so that no fault of the network is damage."""

    def __init__(self, file: Any) -> None:
        self._file = file

    def read(self, size: int = -1) -> bytes:
        return _call(self._file.read, size)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)


def _filesystem(url: str) -> Any:
    return _opened_filesystem(scheme_of(url), _options_key())


def _options_key() -> str:
    """Return all that says how object storage is reached, to open a store once for it."""
    near = sorted(pair for pair in os.environ.items() if pair[0].startswith(_ENVIRONMENT))
    return json.dumps([_given[-1], near], sort_keys=True, default=str)


@functools.lru_cache(maxsize=8)
def _opened_filesystem(scheme: str, options: str) -> Any:
    package, extra = OBJECT_STORES[scheme]
    chosen: dict[str, Any] = json.loads(options)[0] or {}
    if extra == "s3":
        chosen["config_kwargs"] = {**_S3, **chosen.get("config_kwargs", {})}
    try:
        import fsspec

        kind = fsspec.get_filesystem_class(scheme)
    except ImportError as error:
        raise MissingExtraError.of(package, extra) from error
    try:
        return kind(**{"use_listings_cache": False, "skip_instance_cache": True, **chosen})
    except Exception as error:
        found = trouble_of(error)
        if isinstance(error, ValueError):  # of Azure, without an account
            found = FetchError("no credentials were found")
        raise found from None


def _call(function: Callable[..., T], *arguments: Any, **options: Any) -> T:
    """Call what belongs to a file system; what goes wrong becomes `FetchError`."""
    try:
        return function(*arguments, **options)
    except (TlxError, MemoryError):
        raise
    except Exception as error:
        raise trouble_of(error) from None


def _list(url: str) -> list[Listed]:
    if scheme_of(url) in WEB:
        return web.list_folder(url)
    files = _filesystem(url)
    start = files._strip_protocol(url).strip("/") + "/"
    found: dict[str, Any] = _call(files.find, url, detail=True)
    if not found:
        try:
            _call(files.info, url)  # says so if there is no such bucket
        except FetchError as error:
            if error.status != 404 or "bucket" in str(error.strerror):
                raise
            raise FetchError("nothing lies there", remedy="Check the name of the folder.") from None
    listed = []
    for name, told in found.items():
        path = name.lstrip("/")
        if path.startswith(start) and not path.endswith("/"):
            listed.append((path[len(start) :], *_version(told)))
    return listed


def _version(told: dict[str, Any]) -> tuple[int, int]:
    size = told.get("size")
    said = next((told[name] for name in _VERSION if told.get(name)), None)
    return -1 if size is None else int(size), -1 if said is None else stamp_of(str(said))


def _read_object(url: str, most: int, large: AbstractContextManager[Any]) -> bytes:
    """Return the first `most` bytes of an object, in one request, so that they are of one version.

    The first request asks for 16 MiB, which few images reach, so that many may be under way.
    """
    first = min(most, web.FIRST)
    try:
        data = _call(_range, _filesystem(url), url, first)
    except FetchError as error:
        if error.status != 416:
            raise
        return b""  # of which there is no first byte
    if len(data) < first or first == most:
        return data
    with large:
        return _call(_range, _filesystem(url), url, most)


def _range(files: Any, url: str, most: int) -> bytes:
    if not files.async_impl:
        return files.cat_file(url, start=0, end=most)
    import asyncio

    from fsspec.asyn import sync

    async def within() -> bytes:
        seconds = web.SECONDS * max(1, most / web.FIRST)
        return await asyncio.wait_for(files._cat_file(url, start=0, end=most), seconds)

    data: Any = sync(files.loop, within)
    return data
