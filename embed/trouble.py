"""What can go wrong between here and where images lie, in words of our own.

Nothing of what a server says is repeated, and nothing of the URL: either may hold a secret.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterator
from typing import Any

from ..errors import DataError
from .urls import OBJECT_STORES, scheme_of

_CODE = re.compile(r"[A-Za-z]{1,40}")
_REGION = re.compile(r"[a-z]{2,4}(-[a-z]+)+-\d{1,2}")
_UNREACHABLE = ("EndpointConnectionError", "ConnectionError", "ConnectionRefusedError", "gaierror")
_UNREACHABLE += ("ClientConnectorError", "ClientConnectorDNSError", "ServiceRequestError")
_NO_CREDENTIALS = ("NoCredentialsError", "PartialCredentialsError", "DefaultCredentialsError")
_NO_CREDENTIALS += ("ProfileNotFound", "CredentialUnavailableError", "ClientAuthenticationError")
_BAD_CREDENTIALS = ("InvalidAccessKeyId", "SignatureDoesNotMatch", "ExpiredToken", "InvalidToken")
_ELSEWHERE = ("PermanentRedirect", "AuthorizationHeaderMalformed", "IllegalLocationConstraint")
_ELSEWHERE += ("IllegalLocationConstraintException", "TemporaryRedirect")
_OF_CREDENTIALS = {
    "s3": "Set AWS_PROFILE, or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY; of a public bucket: "
    'a file with {"anon": true} for --storage-options.',
    "gcs": "Run gcloud auth application-default login, or set GOOGLE_APPLICATION_CREDENTIALS; of "
    'a public bucket: a file with {"token": "anon"} for --storage-options.',
    "azure": "Set AZURE_STORAGE_ACCOUNT_NAME, and AZURE_STORAGE_ACCOUNT_KEY or "
    "AZURE_STORAGE_SAS_TOKEN; or name a file for --storage-options.",
}


class FetchError(OSError):
    """Why something that is not here could not be had.

    Parameters
    ----------
    reason : str
        A few words, as ``strerror`` of other OSErrors.
    again : bool, default=False
        Whether the next attempt may succeed.
    status : int, default=0
        Of HTTP, where it was that.
    remedy : str, default=""
        What to do, where more is known than the scheme tells.
    """

    def __init__(self, reason: str, again: bool = False, status: int = 0, remedy: str = "") -> None:
        super().__init__(0, reason)
        self.again, self.status, self.remedy = again, status, remedy

    def data_error(self, url: str) -> DataError:
        """Return it as the error that ends a command."""
        return DataError(f"{url}: {self.strerror}.", self.remedy or self._remedy(url))

    def _remedy(self, url: str) -> str:
        extra = OBJECT_STORES.get(scheme_of(url), ("", ""))[1]
        if "credentials" in str(self.strerror):
            return _OF_CREDENTIALS.get(extra, "Check them.")
        if self.strerror == "access is denied":
            return "Ask for the right to list and read it, or use other credentials."
        if self.again:
            return "Check the network and the address, then run the same command again."
        return "Check the name."


def of_status(status: int) -> FetchError:
    """Return what an HTTP status says."""
    if status in (401, 403):
        return FetchError("access is denied", status=status)
    if status in (404, 410):
        return FetchError("there is no such object", status=status)
    busy = status >= 500 or status in (408, 425, 429)
    return FetchError(f"the server answered {status}", busy, status)


def trouble_of(error: BaseException) -> FetchError:
    """Return what an exception of fsspec, or of what is below it, means."""
    chain = list(_chain(error))
    for one in chain:
        if isinstance(one, FetchError):
            return one
        if (found := _of_answer(getattr(one, "response", None))) is not None:
            return found
    names = {kind.__name__ for one in chain for kind in type(one).__mro__}
    if names & {*_NO_CREDENTIALS}:
        return FetchError("no credentials were found")
    if isinstance(error, FileNotFoundError) or "ResourceNotFoundError" in names:
        return FetchError("there is no such object", status=404)
    if isinstance(error, PermissionError):
        return FetchError("access is denied", status=403)
    if isinstance(error, TimeoutError | asyncio.TimeoutError) or _some(names, "Timeout"):
        return FetchError("it takes too long", again=True)
    if names & {*_UNREACHABLE}:
        return FetchError("the server cannot be reached", again=True)
    for one in chain:
        for name in ("status_code", "status", "code"):
            status = getattr(one, name, None)
            if str(status).isdigit() and 300 <= int(str(status)) < 600:
                return of_status(int(str(status)))
    if isinstance(error, TypeError):
        said = "the storage options are not those of such a store"
        return FetchError(said, remedy="See the documentation of s3fs, gcsfs or adlfs.")
    return FetchError(f"it could not be fetched ({type(error).__name__})", again=True)


def _of_answer(answer: Any) -> FetchError | None:
    """Return what an answer of S3 says that botocore could read."""
    if not isinstance(answer, dict) or "Error" not in answer:
        return None
    code = str(answer["Error"].get("Code", ""))
    code = code if _CODE.fullmatch(code) else ""
    meta = answer.get("ResponseMetadata", {})
    status = int(meta.get("HTTPStatusCode", 0))
    if code == "NoSuchBucket":
        return FetchError("there is no such bucket", status=404)
    if code in _BAD_CREDENTIALS:
        return FetchError(f"the credentials are refused ({code})", status=403)
    if code in _ELSEWHERE or status == 301:
        region = str(meta.get("HTTPHeaders", {}).get("x-amz-bucket-region", ""))
        known = f"AWS_REGION={region}" if _REGION.fullmatch(region) else "AWS_REGION"
        return FetchError(
            "the bucket is in another region",
            status=301,
            remedy=f"Set {known} to that of the bucket."
            if known == "AWS_REGION"
            else f"Set {known}.",
        )
    if code in ("SlowDown", "RequestTimeout", "InternalError", "ServiceUnavailable"):
        return FetchError(f"the server is busy ({code})", True, status)
    return of_status(status) if status >= 300 else None


def _some(names: set[str], part: str) -> bool:
    return any(part in name for name in names)


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        error = error.__cause__ or error.__context__
