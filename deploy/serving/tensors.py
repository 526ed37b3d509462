"""Pixels and probabilities as the Open Inference Protocol sends them, version 2.

JSON, and its extension for binary tensors: the JSON object first, whose length the header
``Inference-Header-Content-Length`` has, then the bytes of the tensors.
"""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np

from .problem import ProblemError

LENGTH = "Inference-Header-Content-Length"
INPUT, OUTPUT = "image", "probabilities"


def read_pixels(body: bytes, header: str | None, size: int, most: int) -> tuple[dict, np.ndarray]:
    """Return the request as it stands and the pixels (N, S, S, 3) uint8 in it.

    Parameters
    ----------
    body : bytes
    header : str or None
        That of `LENGTH`.
    size, most : int
        Side of the pixels, and how many images there may be.

    Raises
    ------
    ProblemError
        If it is anything else.
    """
    cut = len(body)
    if header is not None:
        if not (header.isascii() and header.isdigit() and len(header) < 12 and int(header) <= cut):
            raise ProblemError(400, f"{LENGTH} must be a length within the body.")
        cut = int(header)
    try:
        request = json.loads(body[:cut])
    except (ValueError, RecursionError) as error:
        raise ProblemError(400, "The request is no JSON object.") from error
    inputs = request.get("inputs") if isinstance(request, dict) else None
    if not isinstance(inputs, list) or len(inputs) != 1 or not isinstance(inputs[0], dict):
        raise ProblemError(400, f"The request must have one input, {INPUT!r}.")
    tensor = inputs[0]
    shape = tensor.get("shape")
    if tensor.get("name") != INPUT or tensor.get("datatype") != "UINT8":
        raise ProblemError(400, f"The input must be {INPUT!r} of datatype UINT8.")
    if (
        not isinstance(shape, list)
        or not all(type(n) is int for n in shape)
        or len(shape) != 4
        or shape[1:] != [size, size, 3]
        or not 1 <= shape[0] <= most
    ):
        raise ProblemError(400, f"The shape must be [N, {size}, {size}, 3], N from 1 to {most}.")
    return request, _values(tensor, body[cut:], math.prod(shape)).reshape(shape)


def _values(tensor: dict, binary: bytes, count: int) -> np.ndarray:
    """Return the numbers of a tensor, from its list or from the bytes behind the JSON object."""
    if "data" not in tensor:
        parameters = tensor.get("parameters")
        size = parameters.get("binary_data_size") if isinstance(parameters, dict) else None
        if size != count or len(binary) != count:
            raise ProblemError(400, f"There must be {count} bytes of pixels.")
        return np.frombuffer(binary, np.uint8)
    try:
        values = np.asarray(tensor["data"], object)  # texts are not copied, whatever their length
    except ValueError as error:  # ragged
        raise ProblemError(400, "The data must be a list of numbers.") from error
    if values.size != count or {*map(type, values.flat)} != {int}:
        raise ProblemError(400, f"The data must be {count} whole numbers.")
    if values.min() < 0 or values.max() > 255:
        raise ProblemError(400, "The data must be from 0 to 255.")
    return values.astype(np.uint8).reshape(-1)


def write_probabilities(
    request: dict, model: str, probabilities: np.ndarray
) -> tuple[bytes, dict[str, str]]:
    """Return the body and headers of the answer, binary if the request asked for that.

    Parameters
    ----------
    request : dict
    model : str
    probabilities : ndarray of shape (N, C), float32
    """
    output: dict[str, Any] = {
        "name": OUTPUT,
        "datatype": "FP32",
        "shape": list(probabilities.shape),
    }
    told: dict[str, Any] = {"model_name": model, "outputs": [output]}
    if isinstance(request.get("id"), str):
        told["id"] = request["id"][:255]
    if not _wants_binary(request):
        output["data"] = probabilities.astype(np.float64).ravel().tolist()
        return json.dumps(told).encode(), {"Content-Type": "application/json"}
    data = np.ascontiguousarray(probabilities, "<f4").tobytes()
    output["parameters"] = {"binary_data_size": len(data)}
    head = json.dumps(told).encode()
    return head + data, {"Content-Type": "application/octet-stream", LENGTH: str(len(head))}


def _wants_binary(request: dict) -> bool:
    def asks(owner: Any, name: str) -> Any:
        parameters = owner.get("parameters") if isinstance(owner, dict) else None
        return parameters.get(name) if isinstance(parameters, dict) else None

    outputs = request.get("outputs")
    first = outputs[0] if isinstance(outputs, list) and outputs else None
    wanted = asks(first, "binary_data")
    return bool(asks(request, "binary_data_output") if wanted is None else wanted)
