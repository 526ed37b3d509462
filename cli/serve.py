"""``tlx serve``: a run behind a page and an API."""

from __future__ import annotations

import sys
from dataclasses import replace
from typing import Annotated

import typer

from .common import (
    DEFAULT_WORKSPACE,
    EngineOption,
    JsonOption,
    RunArgument,
    TrustOption,
    WorkspaceOption,
    emit,
    note,
    say,
)
from .signals import leave_to_others


def serve(
    run: RunArgument = "best",
    host: Annotated[
        str,
        typer.Option(
            help="Address to listen to. Any but this machine's own needs a token, or --insecure."
        ),
    ] = "127.0.0.1",
    port: Annotated[
        int, typer.Option(min=0, max=65535, help="Port to listen to; 0 for any that is free.")
    ] = 8000,
    token: Annotated[
        str | None,
        typer.Option(
            envvar="TLX_TOKEN",
            help="Secret that requests must bring as 'Authorization: Bearer TOKEN'. Better in the "
            "variable: others on this machine may see what was typed.",
        ),
    ] = None,
    insecure: Annotated[
        bool, typer.Option("--insecure", help="Let others on the network in without a token.")
    ] = False,
    allow_origin: Annotated[
        list[str] | None,
        typer.Option(
            metavar="ORIGIN",
            help="Let pages of this address use the API: https://example.org. May be repeated.",
        ),
    ] = None,
    reject: Annotated[
        float | None,
        typer.Option(metavar="ERROR", help="Say 'unknown' as tlx predict --reject does."),
    ] = None,
    workers: Annotated[
        int,
        typer.Option(
            min=1, max=64, help="Processes that answer. One uses all cores; more cost memory."
        ),
    ] = 1,
    max_mib: Annotated[
        int, typer.Option("--max-mib", min=1, max=512, help="Largest request, in MiB.")
    ] = 32,
    max_files: Annotated[
        int, typer.Option(min=1, max=1000, help="Most photos in one request.")
    ] = 32,
    max_megapixels: Annotated[
        int, typer.Option(min=1, max=89, help="Most pixels of a photo, in millions.")
    ] = 64,
    timeout: Annotated[
        float, typer.Option(min=0.1, max=3600, help="Seconds within which a request must arrive.")
    ] = 30.0,
    queue: Annotated[
        int,
        typer.Option(
            min=1,
            max=100_000,
            help="Photos that may wait; when full, others are told to come later.",
        ),
    ] = 128,
    engine: EngineOption = "auto",
    trust: TrustOption = None,
    workspace: WorkspaceOption = DEFAULT_WORKSPACE,
    as_json: JsonOption = False,
) -> None:
    """Serve a run: a page to drop photos on, and an API for programs.

    It predicts until Ctrl-C or a termination, and finishes what is in flight.
    """
    from ..classify.runs.best import load_run
    from ..deploy.serving.server import check_extra
    from ..deploy.serving.server import serve as serve_run
    from ..deploy.serving.settings import Settings, check_settings

    settings = Settings(
        run=workspace,
        host=host,
        port=port,
        token=token,
        insecure=insecure,
        origins=tuple(allow_origin or ()),
        reject=reject,
        engine=engine,
        trusted=tuple(trust or ()),
        workers=workers,
        max_bytes=max_mib * 2**20,
        max_files=max_files,
        max_pixels=max_megapixels * 1_000_000,
        seconds=timeout,
        queue=queue,
    )
    check_settings(settings)
    check_extra()
    loaded = load_run(run, workspace, trusted=trust)
    note(f"Using {loaded.describe()}.")

    def tell(address: str) -> None:
        if as_json:
            emit({"run": loaded.id, "address": address})
        else:
            say(f"Serving {loaded.id} on {address} (Ctrl-C ends it).")
        sys.stdout.flush()

    leave_to_others()
    serve_run(replace(settings, run=loaded.folder.absolute()), tell)
    note("Ended.")
