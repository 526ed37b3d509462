"""What of a URL is written down, and what it leads to."""

from __future__ import annotations

import pytest

from tlx.embed.urls import clean_url, full_url, is_url, join_url, parent_of, scheme_of
from tlx.errors import DataError

S3_SIGNED = (
    "https://b.s3.amazonaws.com/a.png?X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=hunter2"
    "&X-Amz-Date=1&X-Amz-Expires=9&X-Amz-SignedHeaders=host&X-Amz-Signature=hunter2"
)
SIGNED = {
    S3_SIGNED: "https://b.s3.amazonaws.com/a.png",
    "https://a.blob.core.windows.net/c/a.png?sv=2&st=1&se=2&sr=b&sp=r&sig=hunter2": (
        "https://a.blob.core.windows.net/c/a.png"
    ),
    "https://d.cloudfront.net/a.png?Expires=1&Signature=hunter2&Key-Pair-Id=hunter2": (
        "https://d.cloudfront.net/a.png"
    ),
    "https://storage.googleapis.com/b/a.png?X-Goog-Signature=hunter2&x-goog-date=1": (
        "https://storage.googleapis.com/b/a.png"
    ),
    "https://host/img?id=42&access_token=hunter2&size=2": "https://host/img?id=42&size=2",
    "https://host/img?api_key=hunter2": "https://host/img",
    "https://host/a.png#hunter2": "https://host/a.png",
}


@pytest.mark.parametrize("url", SIGNED)
def test_what_signs_a_url_is_not_kept_but_fetched_with(url):
    clean = clean_url(url)
    assert clean == SIGNED[url]
    assert "hunter2" not in clean
    assert full_url(clean) == url.partition("#")[0]


@pytest.mark.parametrize(
    "url",
    ["https://host/img?id=42&v=a%20b", "s3://bucket/what?.png", "gs://b/a.png?size=2", "az://c/x"],
)
def test_other_queries_are_part_of_the_name(url):
    assert clean_url(url) == full_url(url) == url


@pytest.mark.parametrize(
    "url",
    [
        "https://user:hunter2@host/x",
        "http://hunter2@host/x",
        "s3://key:hunter2@bucket/x",
        "s3://bucket/x.png?sig=hunter2&sv=1",
        "az://c/x.png?sv=1&sig=hunter2",
        "redis://:hunter2@host",
        "s3:///hunter2",
    ],
)
def test_secrets_in_a_url_are_refused_and_not_repeated(url):
    with pytest.raises(DataError) as caught:
        clean_url(url)
    assert "hunter2" not in str(caught.value)


def test_an_account_of_azure_is_no_user():
    url = "abfs://container@account.dfs.core.windows.net/photos"
    assert clean_url(url) == url


@pytest.mark.parametrize(
    ("root", "path", "whole"),
    [
        ("https://host/a", "b.png", "https://host/a/b.png"),
        ("https://host/a", "../../../b.png", "https://host/b.png"),
        ("https://host", "/b.png?id=1", "https://host/b.png?id=1"),
        ("s3://bucket", "./a//b.png", "s3://bucket/a/b.png"),
        ("s3://bucket/a", "../../other/b.png", "s3://bucket/other/b.png"),
        ("s3://bucket/a", "gs://other/b.png", "gs://other/b.png"),
    ],
)
def test_what_a_line_of_a_csv_file_means(root, path, whole):
    assert join_url(root, path) == whole


def test_what_is_a_url():
    urls = ["s3://b", "HTTPS://h", "file:///x", "zip://::x"]
    assert [scheme_of(url) for url in urls] == ["s3", "https", "file", "zip"]
    assert not any(map(is_url, ["a/b", "C:/x", "C:\\x", "://x", "s3:/b", "a b://c", "1.png"]))
    assert parent_of("s3://bucket/labels.csv") == "s3://bucket"
