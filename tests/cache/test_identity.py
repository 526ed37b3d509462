"""Identity: one text for one spec, one fingerprint for one text."""

import hashlib

import pytest

from tlx.cache.identity import canonical_json, digest_of, fingerprint_of


def test_order_of_fields_does_not_matter():
    assert canonical_json({"b": 1, "a": "x"}) == canonical_json({"a": "x", "b": 1})


def test_text_is_ascii_without_spaces():
    assert canonical_json({"näme": "é", "n": 1}) == '{"n":1,"n\\u00e4me":"\\u00e9"}'


def test_a_number_without_a_text_of_its_own_is_refused():
    with pytest.raises(ValueError, match="JSON compliant"):
        canonical_json({"scale": float("nan")})


def test_fingerprint_is_sha256_of_the_text():
    assert fingerprint_of("{}") == hashlib.sha256(b"{}").hexdigest()


def test_digest_is_sha256_of_the_bytes():
    assert digest_of(b"photo") == hashlib.sha256(b"photo").digest()
