"""A web page that classifies photos in the browser, on the machine of whoever opens it."""

from __future__ import annotations

import base64
import hashlib
import json
import shutil
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from ...errors import DataError
from .format import Format, Order
from .onnx import FORMAT as ONNX

if TYPE_CHECKING:
    import keras

PAGE: Final = ("index.html", "page.css", "page.js", "resample.js")
PARTS: Final = "page.json"  # what the page loads besides, with the hash of each

# The runtime: those two files of one release, as npm and its mirrors have them.
VERSION: Final = "1.30.0"
RUNTIME: Final = {
    "script": (
        "ort.wasm.bundle.min.mjs",
        73_054,
        "sha384-PLWz+nHEVHpjwBsO0YVdvQj6n5814Iv8E3b8FG0Rp/uIAtjFMCKOpP66iPzedrIG",
    ),
    "wasm": (
        "ort-wasm-simd-threaded.wasm",
        14_239_897,
        "sha384-vjBJ1z7qrhkTyYsNqKeF6c7N+nOJSU94czEo+tvZcu8G75JparGq9kB+kTnEUNVM",
    ),
}
SERVER: Final = "https://cdn.jsdelivr.net"
_FOLDER: Final = f"{SERVER}/npm/onnxruntime-web@{VERSION}/dist"
_FETCH: Final = f"npm pack onnxruntime-web@{VERSION} && tar xf onnxruntime-web-{VERSION}.tgz"


def _write(network: keras.Model, path: Path, order: Order) -> None:
    """Write the network and the page beside it, with a copy of the runtime if one was named."""
    own = {} if order.runtime is None else find_runtime(order.runtime)
    ONNX.write(network, path, order)
    parts: dict[str, Any] = {"network": _part(path.name, path.stat().st_size, integrity(path))}
    for kind, (name, size, expected) in RUNTIME.items():
        if own:
            shutil.copyfile(own[kind], path.with_name(name))
        parts[kind] = _part(name if own else f"{_FOLDER}/{name}", size, expected)
    parts["bytes"] = sum(part["bytes"] for part in parts.values())
    path.with_name(PARTS).write_text(json.dumps(parts, indent=1) + "\n", encoding="utf-8")
    for name in PAGE:
        text = (files(__package__ or "") / "page" / name).read_text(encoding="utf-8")
        if name == "index.html" and not own:  # the only other place that the page may ask
            text = text.replace("connect-src 'self'", f"connect-src 'self' {SERVER}")
        path.with_name(name).write_text(text, encoding="utf-8", newline="\n")


def _part(url: str, size: int, hashed: str) -> dict[str, Any]:
    return {"url": url, "bytes": size, "integrity": hashed}


def find_runtime(folder: Path) -> dict[str, Path]:
    """Return the files of the runtime in an unpacked package, which has to be the pinned one.

    Raises
    ------
    DataError
    """
    found = {}
    for kind, (name, _, expected) in RUNTIME.items():
        places = (folder / part / name for part in ("dist", "package/dist", "."))
        place = next((place for place in places if place.is_file()), None)
        if place is None or integrity(place) != expected:
            problem = f"{name} is not in it" if place is None else f"its {name} is another"
            raise DataError(
                f"{folder} is not onnxruntime-web {VERSION}: {problem}.",
                f"Fetch it, and name the folder it makes: {_FETCH}; then --runtime package",
            )
        found[kind] = place
    return found


def integrity(path: Path) -> str:
    """Return the SHA-384 of a file as browsers compare it (Subresource Integrity, W3C)."""
    digest = hashlib.sha384(path.read_bytes()).digest()
    return f"sha384-{base64.b64encode(digest).decode('ascii')}"


FORMAT: Final = Format(
    "web",
    "a page that classifies photos in the browser, uploading nothing",
    "network.onnx",
    _write,
    ONNX.open,
    modules=ONNX.modules,
    runs_with=ONNX.runs_with,
    check_runtime=find_runtime,
    own_folder=True,
    next_step="python -m http.server --bind 127.0.0.1 --directory {}",
    order=60,
)
