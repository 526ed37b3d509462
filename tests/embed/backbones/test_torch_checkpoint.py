"""Hostile and honest legacy checkpoints, written here byte by byte."""

from __future__ import annotations

import collections
import functools
import operator
import os
import pickle
import struct
from pathlib import Path

import numpy as np
import pytest

from tlx.embed.backbones.torch_checkpoint import MAGIC, PROTOCOL, read_checkpoint
from tlx.errors import WeightsError

SYSTEM = {"protocol_version": PROTOCOL, "little_endian": True, "type_sizes": {"int": 4}}


class Name:
    """Pickles as a bare name of a module that need not exist."""

    def __init__(self, module, name):
        self.module, self.name = module, name


class Tensor:
    """Pickles as torch pickles a tensor: a call of `_rebuild_tensor_v2`."""

    def __init__(self, key, count, offset, size, stride, kind="FloatStorage", view=None):
        self.storage = ("storage", Name("torch", kind), key, "cpu", count, view)
        self.rest = (offset, size, stride)


class Writer(pickle._Pickler):  # the Python one, whose opcodes can be written by hand
    def persistent_id(self, obj):
        return obj[1:] if isinstance(obj, tuple) and obj[:1] == ("PID",) else None

    def save(self, obj, save_persistent_id=True):
        if isinstance(obj, Name):
            self.write(pickle.GLOBAL + f"{obj.module}\n{obj.name}\n".encode())
        elif isinstance(obj, Tensor):
            self.save(Name("torch._utils", "_rebuild_tensor_v2"))
            self.save((("PID", *obj.storage), *obj.rest, False, collections.OrderedDict()))
            self.write(pickle.REDUCE)
        else:
            super().save(obj, save_persistent_id)


def pickled(obj) -> bytes:
    import io

    stream = io.BytesIO()
    Writer(stream, 2).dump(obj)
    return stream.getvalue()


def checkpoint(state, storages=(), keys=None, system=SYSTEM) -> bytes:
    """Return a whole file; `state` is an object or the bytes of a pickle."""
    head = pickled(MAGIC) + pickled(PROTOCOL) + pickled(system)
    body = state if isinstance(state, bytes) else pickled(state)
    keys = [key for key, _ in storages] if keys is None else keys
    data = b"".join(struct.pack("<q", array.size) + array.tobytes() for _, array in storages)
    return head + body + pickled(keys) + data


@pytest.fixture
def write(tmp_path):
    def write(data: bytes) -> Path:
        path = tmp_path / "weights.pth"
        path.write_bytes(data)
        return path

    return write


NUMBERS = np.arange(24, dtype="<f4")


def state(**kwargs):
    return collections.OrderedDict(kwargs)


def test_tensor_has_the_shape_and_values_of_the_file(write):
    path = write(checkpoint(state(w=Tensor("7", 24, 0, (4, 6), (6, 1))), [("7", NUMBERS)]))
    np.testing.assert_array_equal(read_checkpoint(path)["w"], NUMBERS.reshape(4, 6))


def test_strides_and_offset_are_honoured(write):
    path = write(checkpoint(state(w=Tensor("7", 24, 4, (2, 3), (1, 6))), [("7", NUMBERS)]))
    np.testing.assert_array_equal(read_checkpoint(path)["w"], [[4, 10, 16], [5, 11, 17]])


def test_long_scalar_is_read(write):
    tensor = Tensor("1", 1, 0, (), (), "LongStorage")
    path = write(checkpoint(state(n=tensor), [("1", np.array([5], "<i8"))]))
    assert read_checkpoint(path)["n"].dtype == np.int64
    assert read_checkpoint(path)["n"] == 5


def test_two_tensors_may_share_a_storage(write):
    tensors = state(a=Tensor("7", 24, 0, (2,), (1,)), b=Tensor("7", 24, 22, (2,), (1,)))
    read = read_checkpoint(write(checkpoint(tensors, [("7", NUMBERS)])))
    assert [read["a"].tolist(), read["b"].tolist()] == [[0, 1], [22, 23]]


def test_attributes_of_the_ordered_dict_are_dropped(write):
    honest = state(w=Tensor("7", 24, 0, (24,), (1,)))
    honest._metadata = collections.OrderedDict({"": {"version": 1}})
    assert list(read_checkpoint(write(checkpoint(honest, [("7", NUMBERS)])))) == ["w"]


def test_tensors_are_views_that_cannot_be_written(write):
    path = write(checkpoint(state(w=Tensor("7", 24, 0, (24,), (1,))), [("7", NUMBERS)]))
    with pytest.raises(ValueError, match="read-only"):
        read_checkpoint(path)["w"][0] = 1


class Reduce:
    def __init__(self, function, *arguments):
        self.call = (function, arguments)

    def __reduce__(self):
        return self.call


def touch(path):
    return Reduce(os.system, f"touch {path}")


@pytest.mark.parametrize(
    ("function", "name"),
    [
        (os.system, "posix.system"),
        (eval, "builtins.eval"),
        (getattr, "builtins.getattr"),
        (functools.partial, "functools.partial"),
        (operator.attrgetter, "operator.attrgetter"),
    ],
)
def test_any_other_global_is_refused_by_name(write, function, name):
    with pytest.raises(WeightsError, match=name.replace("builtins", ".*")):
        read_checkpoint(write(checkpoint(state(w=Reduce(function, "x")))))


def test_nothing_of_a_hostile_pickle_runs(write, tmp_path):
    path = write(checkpoint(state(w=touch(tmp_path / "ran"))))
    with pytest.raises(WeightsError):
        read_checkpoint(path)
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("part", range(5))
def test_no_part_of_the_file_may_call(tmp_path, write, part):
    parts = [pickled(MAGIC), pickled(PROTOCOL), pickled(SYSTEM), pickled(state()), pickled([])]
    parts[part] = pickled(touch(tmp_path / "ran"))
    with pytest.raises(WeightsError):
        read_checkpoint(write(b"".join(parts)))
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    ("opcodes", "name"),
    [
        (b"(K\x01ios\nsystem\n.", "INST"),
        (b"(cos\nsystem\nS'true'\no.", "os.system"),
        (b"\x82\x01.", "EXT1"),
        (b"\x83\x01\x00.", "EXT2"),
        (b"\x84\x01\x00\x00\x00.", "EXT4"),
        (b"\x8c\x02os\x8c\x06system\x93.", "SHORT_BINUNICODE"),
        (b"ccollections\nOrderedDict\n)\x81.", "NEWOBJ"),
        (b"Pstorage\n.", "PERSID"),
        (b"S'text'\n.", "STRING"),
    ],
)
def test_opcodes_that_weights_never_need_are_refused(write, opcodes, name):
    with pytest.raises(WeightsError, match=name):
        read_checkpoint(write(checkpoint(opcodes)))


@pytest.mark.parametrize(
    "opcodes",
    [
        b"ctorch\nFloatStorage\n)R.",  # a storage type is no function
        b"ccollections\nOrderedDict\n}b.",  # attributes of a name
        b"ccollections\nOrderedDict\n](K\x01K\x02e\x85R.",  # OrderedDict of something
        b"}(K\x01K\x02u.",  # a key that is no text
        b"}(X\x01\x00\x00\x00au.",  # a key without a value
        b"R.",
        b"u.",
        b"h\x05.",
        b".",
        b"K\x01K\x02.",
        b"]" + b"q\x00h\x00\x86" * 60 + b"q\x00}h\x00K\x01s.",  # a key whose hash never ends
    ],
)
def test_malformed_programs_are_refused(write, opcodes):
    with pytest.raises(WeightsError, match="damaged"):
        read_checkpoint(write(checkpoint(opcodes)))


@pytest.mark.parametrize(
    "tensor",
    [
        Tensor("7", 24, 0, (25,), (1,)),
        Tensor("7", 24, 23, (2,), (1,)),
        Tensor("7", 24, 0, (2, 2), (1, 23)),
        Tensor("7", 24, 0, (2**40,), (0,)),
        Tensor("7", 24, -1, (2,), (1,)),
        Tensor("7", 24, 8, (2,), (-1,)),
        Tensor("7", 24, 0, (2, 2), (1,)),
        Tensor("7", 24, 0, (1,) * 9, (1,) * 9),
        Tensor("7", 24, 0, (2.0,), (1,)),
        Tensor("7", 25, 0, (2,), (1,)),
        Tensor("7", 2**40, 0, (2,), (1,)),
        Tensor("7", 10**5000, 0, (2,), (1,)),
        Tensor("8", 24, 0, (2,), (1,)),
        Tensor("7", 24, 0, (2,), (1,), view=("7", 0, 2)),
        "no tensor",
    ],
)
def test_tensors_outside_their_storage_are_refused(write, tensor):
    with pytest.raises(WeightsError, match=r"damaged|never need"):
        read_checkpoint(write(checkpoint(state(w=tensor), [("7", NUMBERS)])))


def test_other_storage_types_are_refused_by_name(write):
    tensor = Tensor("7", 24, 0, (2,), (1,), "HalfStorage")
    with pytest.raises(WeightsError, match=r"torch\.HalfStorage"):
        read_checkpoint(write(checkpoint(state(w=tensor), [("7", NUMBERS)])))


def test_every_truncation_is_refused(write):
    whole = checkpoint(state(w=Tensor("7", 24, 0, (4, 6), (6, 1))), [("7", NUMBERS)])
    for length in range(len(whole)):
        with pytest.raises(WeightsError):
            read_checkpoint(write(whole[:length]))


def test_bytes_after_the_end_are_refused(write):
    whole = checkpoint(state(w=Tensor("7", 24, 0, (24,), (1,))), [("7", NUMBERS)])
    with pytest.raises(WeightsError, match="1 bytes follow"):
        read_checkpoint(write(whole + b"\0"))


def test_flipped_bytes_never_escape_as_another_error(write):
    whole = bytearray(checkpoint(state(w=Tensor("7", 24, 0, (4, 6), (6, 1))), [("7", NUMBERS)]))
    random = np.random.default_rng(0)
    for position in random.integers(0, len(whole) - NUMBERS.nbytes, 2000):
        damaged = whole.copy()
        damaged[position] = random.integers(256)
        try:
            read_checkpoint(write(bytes(damaged)))
        except WeightsError:
            continue


def test_big_endian_numbers_are_refused(write):
    with pytest.raises(WeightsError, match="little-endian"):
        read_checkpoint(write(checkpoint(state(), system={"little_endian": False})))


def test_zip_format_is_refused_with_the_remedy(write):
    with pytest.raises(WeightsError, match="_use_new_zipfile_serialization=False"):
        read_checkpoint(write(b"PK\x03\x04" + bytes(100)))


def test_missing_file_is_a_weights_error(tmp_path):
    with pytest.raises(WeightsError, match="No such file"):
        read_checkpoint(tmp_path / "none.pth")
