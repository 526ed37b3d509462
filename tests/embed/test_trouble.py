"""What went wrong elsewhere, in words of our own."""

from __future__ import annotations

import asyncio

import pytest

from tlx.embed.trouble import FetchError, of_status, trouble_of


def answer(code: str, status: int = 403, region: str = "") -> Exception:
    """Return an exception like those of botocore."""
    error = OSError("hunter2")
    error.response = {  # pyright: ignore[reportAttributeAccessIssue]
        "Error": {"Code": code, "Message": "hunter2"},
        "ResponseMetadata": {
            "HTTPStatusCode": status,
            "HTTPHeaders": {"x-amz-bucket-region": region},
        },
    }
    return error


class NoCredentialsError(Exception):
    pass


class ServerTimeoutError(Exception):
    pass


class HttpError(Exception):
    code = 429


CASES = [
    (answer("NoSuchBucket", 404), "there is no such bucket", False),
    (answer("NoSuchKey", 404), "there is no such object", False),
    (answer("AccessDenied"), "access is denied", False),
    (answer("ExpiredToken"), "the credentials are refused (ExpiredToken)", False),
    (answer("PermanentRedirect", 301), "the bucket is in another region", False),
    (answer("SlowDown", 503), "the server is busy (SlowDown)", True),
    (answer("<hunter2>", 500), "the server answered 500", True),
    (FileNotFoundError("hunter2"), "there is no such object", False),
    (PermissionError("hunter2"), "access is denied", False),
    (NoCredentialsError("hunter2"), "no credentials were found", False),
    (ServerTimeoutError("hunter2"), "it takes too long", True),
    (asyncio.TimeoutError(), "it takes too long", True),
    (ConnectionResetError("hunter2"), "the server cannot be reached", True),
    (HttpError("hunter2"), "the server answered 429", True),
    (TypeError("hunter2"), "the storage options are not those of such a store", False),
    (RuntimeError("hunter2"), "it could not be fetched (RuntimeError)", True),
]


@pytest.mark.parametrize(("error", "reason", "again"), CASES, ids=lambda value: str(value)[:40])
def test_a_failure_has_a_reason_without_words_from_elsewhere(error, reason, again):
    found = trouble_of(error)
    assert (found.strerror, found.again) == (reason, again)
    told = str(found.data_error("s3://bucket/photos"))
    assert told.startswith(f"s3://bucket/photos: {reason}.\n")
    assert "hunter2" not in told + repr(found)


def test_the_cause_below_counts():
    error = OSError("hunter2")
    error.__cause__ = answer("AccessDenied")
    assert trouble_of(error).strerror == "access is denied"


@pytest.mark.parametrize(
    ("region", "remedy"),
    [
        ("eu-west-1", "Set AWS_REGION=eu-west-1."),
        ("x; rm", "Set AWS_REGION to that of the bucket."),
    ],
)
def test_another_region_says_which_if_that_is_one(region, remedy):
    assert trouble_of(answer("PermanentRedirect", 301, region)).remedy == remedy


@pytest.mark.parametrize("scheme", ["s3", "gs", "az"])
def test_missing_credentials_say_where_they_come_from(scheme):
    told = str(FetchError("no credentials were found").data_error(f"{scheme}://b/x"))
    assert {"s3": "AWS_PROFILE", "gs": "gcloud", "az": "AZURE_STORAGE"}[scheme] in told


@pytest.mark.parametrize("status", [408, 425, 429, 500, 503])
def test_what_may_pass_is_tried_again(status):
    assert of_status(status).again
    assert not of_status(400).again
