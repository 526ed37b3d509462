"""URLs of images: what is one, what of it may be written down, and how one leads to another.

A signed URL is as good as a password. What is stored, printed or compared is the URL without the
parts of its query that sign it; those stay in the memory of this process, for fetching alone.
"""

from __future__ import annotations

import os
import posixpath
import re
from collections.abc import Mapping
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

from ..errors import DataError

WEB = ("http", "https")
OBJECT_STORES = {
    **dict.fromkeys(("s3", "s3a"), ("s3fs", "s3")),
    **dict.fromkeys(("gs", "gcs"), ("gcsfs", "gcs")),
    **dict.fromkeys(("az", "abfs", "abfss"), ("adlfs", "azure")),
}
"""Schemes of object stores: the package that reads each, and the extra that brings it."""

_URL = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+)://")
_SECRET = re.compile(
    r"sig|token|secret|passw|credential|auth|(api|access|private|shared)[-_]?key|^key$|"
    r"key[-_]?(id|pair)|keyid|^x-(amz|goog|ms)-|^policy$|^expires$",
    re.IGNORECASE,
)
# What a shared access signature of Azure consists of besides "sig".
_SAS = {"sv", "ss", "srt", "sr", "sp", "st", "se", "sip", "spr", "skoid", "sktid", "skt", "ske"}
_SAS |= {"sks", "skv", "saoid", "suoid", "scid", "sdd", "ses"}
_SCHEMES = "s3://, gs://, az://, https:// and file://"

_signed: dict[str, str] = {}  # URLs as they were given, by what is left without their signature


def is_url(text: str) -> bool:
    """Tell whether `text` is a URL and not a path.

    Examples
    --------
    >>> is_url("s3://bucket/photos"), is_url("photos/s3"), is_url("C:/photos")
    (True, False, False)
    """
    return "://" in text and _URL.match(text) is not None


def scheme_of(url: str) -> str:
    """Return the scheme of a URL in lower case, such as ``"s3"``; "" of what is none."""
    found = _URL.match(url)
    return found[1].lower() if found else ""


def clean_url(url: str) -> str:
    """Return a URL as it may be stored; what signs it is remembered for `full_url`.

    Raises
    ------
    DataError
        If it has a scheme that is not read, or a user and password.

    Examples
    --------
    >>> clean_url("HTTPS://host/a.png?size=2&X-Amz-Signature=0123")
    'https://host/a.png?size=2'
    """
    scheme, rest = scheme_of(url), url.split("://", 1)[1]
    if scheme not in OBJECT_STORES and scheme not in WEB:
        raise DataError(f"{scheme}:// is not read.", f"Use {_SCHEMES}, or a path.")
    host = rest.split("/", 1)[0]
    if not host:
        raise DataError(f"{scheme}:// names nothing.", f"Write {scheme}://NAME/FOLDER.")
    if "@" in host and (scheme in WEB or ":" in host):
        raise DataError(
            f"a {scheme}:// URL has a user or password in it.",
            "Leave them out: credentials come from the environment or --storage-options FILE.",
        )
    if scheme not in WEB:  # their names are raw: a question mark may be part of one
        return f"{scheme}://{_unsigned_name(rest)}"
    parts = urlsplit(f"{scheme}://{rest}")
    kept = _unsigned(parts.query)
    clean = urlunsplit((scheme, parts.netloc, parts.path, kept, ""))
    if kept != parts.query:
        _signed[clean] = urlunsplit((scheme, parts.netloc, parts.path, parts.query, ""))
    return clean


def full_url(url: str) -> str:
    """Return what to fetch for a URL that `clean_url` returned in this process."""
    return _signed.get(url, url)


def signed_urls() -> dict[str, str]:
    """Return what was given with a signature, by `clean_url` of it, for `remember_signed`."""
    return dict(_signed)


def remember_signed(urls: Mapping[str, str]) -> None:
    """Let `full_url` know the URLs of the process that this one works for."""
    _signed.update(urls)


def _unsigned(query: str) -> str:
    """Return a query without what signs it, untouched if nothing does."""
    pairs = parse_qsl(query, keep_blank_values=True)
    names = {name.lower() for name, _ in pairs}
    secret = {name for name in names if _SECRET.search(name)}
    if "sig" in names:
        secret |= names & _SAS
    if not secret:
        return query
    return urlencode([(name, value) for name, value in pairs if name.lower() not in secret])


def _unsigned_name(name: str) -> str:
    """Refuse the name of an object that brings a signature along, as copied from a browser."""
    query = name.rpartition("?")[2] if "?" in name else ""
    if query and _unsigned(query) != query:
        raise DataError(
            "a URL of an object has a signature behind it.",
            "Leave away what follows the question mark, or use the https:// URL that was signed.",
        )
    return name


def join_url(root: str, path: str) -> str:
    """Return what `path` means in a CSV file that lies in `root`, which is a URL.

    Examples
    --------
    >>> join_url("s3://bucket/a", "b/../c.png"), join_url("https://host/a", "/c.png")
    ('s3://bucket/a/c.png', 'https://host/c.png')
    """
    if is_url(path):
        return clean_url(path)
    start, below = _split(root)
    path, mark, query = path.partition("?") if scheme_of(root) in WEB else (path, "", "")
    whole = posixpath.normpath(posixpath.join("/", below, path)).lstrip("/")
    return clean_url(f"{start}/{whole}{mark}{query}")


def parent_of(url: str) -> str:
    """Return the folder that a URL, or a path, lies in, without a query.

    Examples
    --------
    >>> parent_of("https://host/data/labels.csv?v=2"), parent_of("data/labels.csv")
    ('https://host/data', 'data')
    """
    if not is_url(url):
        return os.path.dirname(url)
    start, below = _split(url.partition("?")[0] if scheme_of(url) in WEB else url)
    return posixpath.join(start, posixpath.dirname(below)).rstrip("/")


def _split(url: str) -> tuple[str, str]:
    """Return scheme and host (or bucket), and the path behind it."""
    scheme, rest = url.split("://", 1)
    host, _, below = rest.partition("/")
    return f"{scheme}://{host}", below
