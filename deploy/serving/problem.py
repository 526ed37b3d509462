"""Errors as ``application/problem+json`` (RFC 9457): what is wrong, and nothing of the server."""

from __future__ import annotations

import http
import json
from collections.abc import Mapping

MEDIA_TYPE = "application/problem+json"
FAILED = "The server failed. Its log says why."


class ProblemError(Exception):
    """A request that cannot be answered.

    Parameters
    ----------
    status : int
        Of HTTP.
    detail : str
        What is wrong, for who asked.
    headers : mapping of str, optional
        To send along.
    """

    def __init__(self, status: int, detail: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(detail)
        self.status, self.detail, self.headers = status, detail, dict(headers or {})

    @property
    def title(self) -> str:
        """The status in words."""
        return http.HTTPStatus(self.status).phrase

    @property
    def body(self) -> bytes:
        """The JSON object."""
        told = {
            "type": "about:blank",
            "title": self.title,
            "status": self.status,
            "detail": self.detail,
        }
        return json.dumps(told).encode()


def busy(detail: str = "Too many images wait. Come again in a second.") -> ProblemError:
    """Return the refusal of a server that has too much to do."""
    return ProblemError(503, detail, {"Retry-After": "1"})
