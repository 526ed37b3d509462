"""The folder of converted models: what comes out is what went in, or nothing."""

from __future__ import annotations

import pytest

from tlx.embed.converted import Converted, load_converted, save_converted, user_cache_folder
from tlx.errors import StorageError

MODEL = Converted(b"<net/>", bytes(range(256)))


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("TLX_CACHE_DIR", str(tmp_path / "cache"))
    return tmp_path / "cache"


def test_a_saved_model_is_loaded_back():
    save_converted("key", MODEL)
    assert load_converted("key") == MODEL


def test_nothing_saved_is_none():
    assert load_converted("key") is None


def test_every_damaged_byte_and_every_truncation_is_noticed():
    path = save_converted("key", MODEL)
    whole = path.read_bytes()
    for position in range(len(whole)):
        path.write_bytes(whole[:position])
        assert load_converted("key") is None
        path.write_bytes(whole[:position] + bytes([whole[position] ^ 255]) + whole[position + 1 :])
        assert load_converted("key") is None


def test_nothing_but_the_model_is_left_in_the_folder(folder):
    save_converted("key", MODEL)
    save_converted("key", MODEL)
    assert [path.name for path in folder.rglob("*") if path.is_file()] == ["key.ir"]


def test_a_folder_that_cannot_be_made_is_a_storage_error(folder):
    folder.write_text("a file is in the way")
    with pytest.raises(StorageError):
        save_converted("key", MODEL)


def test_without_the_variable_it_is_the_users_cache(monkeypatch):
    monkeypatch.delenv("TLX_CACHE_DIR")
    assert user_cache_folder().name == "tlx"
