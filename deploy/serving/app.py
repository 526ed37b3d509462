"""The routes of a server."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from importlib.resources import files
from typing import Any

from fastapi import FastAPI, Request, Response
from python_multipart.multipart import parse_options_header
from starlette.datastructures import UploadFile
from starlette.exceptions import HTTPException
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import ClientDisconnect

from ..._version import __version__
from .guard import App, Guard
from .problem import FAILED, MEDIA_TYPE, ProblemError
from .service import Photo, Service
from .tensors import LENGTH, read_pixels, write_probabilities

_FIELDS = 8  # of a form beside its files
_STATIC = {
    "/": ("page.html", "text/html; charset=utf-8"),
    "/page.css": ("page.css", "text/css; charset=utf-8"),
    "/page.js": ("page.js", "text/javascript; charset=utf-8"),
    "/docs": ("docs.html", "text/html; charset=utf-8"),
}
_FORM: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "properties": {
                        "files": {"type": "array", "items": {"type": "string", "format": "binary"}}
                    },
                    "required": ["files"],
                }
            }
        },
    }
}
_TENSORS: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {"application/json": {"schema": {"type": "object"}}},
    }
}


def make_app(service: Service) -> App:
    """Return the application that answers for a run, with all that guards it around.

    Parameters
    ----------
    service : Service
        It need not be open yet: until it is, ``/v2/health/ready`` and predictions are 503.
    """

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        yield
        await service.close()

    app = FastAPI(
        title="tlx serve",
        version=__version__,
        docs_url=None,
        redoc_url=None,
        lifespan=lifespan,
    )
    _add_pages(app)
    _add_predict(app, service)
    _add_protocol(app, service)
    app.add_exception_handler(ProblemError, _tell)
    app.add_exception_handler(HTTPException, _tell_http)
    app.add_exception_handler(ClientDisconnect, _tell_nobody)
    app.add_exception_handler(500, _tell_bug)
    guarded: App = Guard(app, service.settings, service.metrics)  # type: ignore[arg-type]
    if service.settings.origins:
        return CORSMiddleware(  # type: ignore[arg-type]
            guarded,  # type: ignore[arg-type]
            allow_origins=service.settings.origins,
            allow_methods=("GET", "POST"),
            allow_headers=("Authorization", "Content-Type", LENGTH),
            expose_headers=(LENGTH, "Retry-After"),
        )
    return guarded


def _add_pages(app: FastAPI) -> None:
    folder = files(__package__ or "tlx.deploy.serving")
    for path, (name, media_type) in _STATIC.items():
        content = (folder / name).read_bytes()

        def page(content: bytes = content, media_type: str = media_type) -> Response:
            return Response(content, media_type=media_type)

        app.add_api_route(path, page, include_in_schema=False)


def _add_predict(app: FastAPI, service: Service) -> None:
    settings = service.settings

    @app.post("/predict", openapi_extra=_FORM, summary="Predict photos")
    async def predict(request: Request) -> Response:
        """Send image files as multipart/form-data; get what ``tlx predict --json`` prints."""
        kind = request.headers.get("content-type", "")
        if not kind.startswith("multipart/form-data"):
            raise ProblemError(415, "Send the photos as multipart/form-data.")
        if parse_options_header(kind)[1].get(b"charset", b"utf-8").lower() != b"utf-8":
            # Not all of Python's codecs fail as the reader of forms takes for granted.
            raise ProblemError(415, "Names in the form must be in UTF-8.")
        service.check_room()
        async with request.form(max_files=settings.max_files, max_fields=_FIELDS) as form:
            sent = [value for _, value in form.multi_items() if isinstance(value, UploadFile)]
            if not sent:
                raise ProblemError(400, "There is no photo: send one or more files.")
            found = await service.predict([Photo(one.filename or "", one.file) for one in sent])
        return _json(found)

    @app.get("/metrics", summary="Counts, for Prometheus")
    async def metrics() -> Response:
        """Tell requests, latencies, queue, rejections, predictions by class, strangers."""
        page = await asyncio.to_thread(service.metrics.page)
        return Response(page, media_type="text/plain; version=0.0.4; charset=utf-8")


def _add_protocol(app: FastAPI, service: Service) -> None:
    """Add the Open Inference Protocol, version 2, for the one model that there is."""

    def check_name(name: str) -> None:
        if name != service.run.id:
            raise ProblemError(404, "There is no model of that name.")

    @app.get("/v2", summary="What this server is")
    async def server() -> Response:
        """Tell name, version and extensions."""
        return _json({"name": "tlx", "version": __version__, "extensions": ["binary_tensor_data"]})

    @app.get("/v2/health/live", summary="Whether it answers")
    async def live() -> Response:
        """Return 200."""
        return _json({"live": True})

    @app.get("/v2/health/ready", summary="Whether it predicts")
    async def ready() -> Response:
        """Return 200 after the first inference, 503 before."""
        return _json({"ready": service.is_ready}, 200 if service.is_ready else 503)

    @app.get("/v2/model", summary="The model, whatever it is called")
    async def any_model() -> Response:
        """Return what ``/v2/models/NAME`` returns."""
        return _json(service.description())

    @app.get("/v2/models/{name}", summary="What goes in and comes out")
    async def model(name: str) -> Response:
        """Tell shape and type of input and output; the classes in the order of the output."""
        check_name(name)
        return _json(service.description())

    @app.get("/v2/models/{name}/ready", summary="Whether the model predicts")
    async def model_ready(name: str) -> Response:
        """Return 200 after the first inference, 503 before."""
        check_name(name)
        told = {"name": name, "ready": service.is_ready}
        return _json(told, 200 if service.is_ready else 503)

    @app.post("/v2/models/{name}/infer", openapi_extra=_TENSORS, summary="Predict pixels")
    async def infer(name: str, request: Request) -> Response:
        """Send uint8 pixels of the model's size, get probabilities; JSON or binary tensors."""
        check_name(name)
        service.check_room()
        size, body = service.pixels_side(), await request.body()
        header = request.headers.get(LENGTH)
        most = service.settings.max_files
        asked, pixels = await asyncio.to_thread(read_pixels, body, header, size, most)
        found = await service.infer(pixels)
        content, headers = write_probabilities(asked, name, found)
        return Response(content, headers=headers)


def _json(content: Mapping[str, Any], status: int = 200) -> Response:
    headers = {"Retry-After": "1"} if status == 503 else None
    text = json.dumps(content, allow_nan=False)
    return Response(text, status, headers=headers, media_type="application/json")


def _tell(_: Request, error: Exception) -> Response:
    assert isinstance(error, ProblemError)
    return Response(error.body, error.status, headers=error.headers, media_type=MEDIA_TYPE)


def _tell_http(request: Request, error: Exception) -> Response:
    """Return what Starlette refuses: unknown paths, other methods, forms that are none."""
    assert isinstance(error, HTTPException)
    return _tell(request, ProblemError(error.status_code, str(error.detail), error.headers))


def _tell_nobody(request: Request, _: Exception) -> Response:
    """Return what is only counted: the client has gone in the middle of its request."""
    return _tell(request, ProblemError(400, "The request was not whole."))


def _tell_bug(request: Request, _: Exception) -> Response:
    """Return nothing of an error of the server's own, which its log tells of."""
    return _tell(request, ProblemError(500, FAILED))
