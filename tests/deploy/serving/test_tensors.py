"""Tensors of the Open Inference Protocol; what is none is refused with its reason."""

from __future__ import annotations

import json
import tracemalloc

import numpy as np
import pytest

from tlx.deploy.serving.problem import ProblemError
from tlx.deploy.serving.tensors import read_pixels, write_probabilities


def asked(**more) -> dict:
    tensor = {"name": "image", "datatype": "UINT8", "shape": [1, 2, 2, 3], "data": [*range(12)]}
    return {"inputs": [{k: v for k, v in {**tensor, **more}.items() if v is not ...}]}


def read(request, header=None, binary=b""):
    body = request if isinstance(request, bytes) else json.dumps(request).encode()
    if header is True:
        header = str(len(body))
    return read_pixels(body + binary, header, 2, 4)[1]


def test_nested_and_flat_lists_and_bytes_are_the_same_pixels():
    flat = read(asked())
    nested = read(asked(data=[[[[0, 1, 2], [3, 4, 5]], [[6, 7, 8], [9, 10, 11]]]]))
    binary = asked(parameters={"binary_data_size": 12}, data=...)
    assert (flat.dtype, flat.shape) == (np.uint8, (1, 2, 2, 3))
    assert np.array_equal(flat, nested)
    assert np.array_equal(flat, read(binary, True, bytes(range(12))))


@pytest.mark.parametrize(
    ("request_", "header", "why"),
    [
        (b"", None, "no JSON"),
        (b"[" * 100_000, None, "no JSON"),
        (b"[]", None, "one input"),
        ({"inputs": [1]}, None, "one input"),
        (asked(name="x"), None, "'image'"),
        (asked(datatype="FP32"), None, "UINT8"),
        (asked(shape=[1, 2, 2]), None, "shape"),
        (asked(shape=[5, 2, 2, 3]), None, "N from 1 to 4"),
        (asked(shape=[True, 2, 2, 3]), None, "shape"),
        (asked(shape=[0, 2, 2, 3]), None, "shape"),
        (asked(data=[1, 2]), None, "12 whole numbers"),
        (asked(data=[[1], [2, 3]]), None, "whole numbers"),
        (asked(data=[[1], [2, 3]] * 6), None, "whole numbers"),
        (asked(data=[True, *range(11)]), None, "whole numbers"),
        (asked(data=[256] * 12), None, "0 to 255"),
        (asked(data=[-1] * 12), None, "0 to 255"),
        (asked(data=[1.5] * 12), None, "whole numbers"),
        (asked(data=["1"] * 12), None, "whole numbers"),
        (asked(data=[10**30] * 12), None, "0 to 255"),
        (asked(data=None), None, "whole numbers"),
        (asked(), "-1", "length"),
        (asked(), "999999", "length"),
        (asked(), "١", "length"),
        (
            {"inputs": [{"name": "image", "datatype": "UINT8", "shape": [1, 2, 2, 3]}]},
            None,
            "bytes",
        ),
    ],
)
def test_anything_else_is_refused(request_, header, why):
    with pytest.raises(ProblemError, match=why) as caught:
        read(request_, header)
    assert caught.value.status == 400


def test_a_long_string_among_the_numbers_takes_no_more_memory_than_its_own():
    body = json.dumps(asked(data=["x" * 10**6, *range(11)])).encode()
    tracemalloc.start()
    try:
        with pytest.raises(ProblemError, match="whole numbers"):
            read(body)
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert most < 10 * len(body)  # as text of equal length each would take 48


@pytest.mark.parametrize(
    "request_",
    [
        {"outputs": [{"name": "probabilities", "parameters": {"binary_data": True}}]},
        {"parameters": {"binary_data_output": True}},
    ],
)
def test_binary_is_answered_where_it_is_asked_for(request_):
    p = np.array([[0.25, 0.75]], np.float32)
    body, headers = write_probabilities(request_, "m", p)
    cut = int(headers["Inference-Header-Content-Length"])
    assert json.loads(body[:cut])["outputs"][0]["parameters"] == {"binary_data_size": 8}
    assert body[cut:] == p.tobytes()
    for odd in ({"outputs": [None]}, {"outputs": {}}, {"parameters": 1}, {"id": [1]}):
        body, _ = write_probabilities(odd, "m", p)
        assert json.loads(body)["outputs"][0]["data"] == [0.25, 0.75]
