"""``tlx demo``: the main job on data that is already on the disk."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from .common import DEFAULT_WORKSPACE, JsonOption, emit, note, quoted, say
from .embed import as_dict as embed_dict
from .embed import as_text as embed_text
from .fit_head import as_dict as run_dict
from .fit_head import as_text as run_text
from .progress import progress


def demo(
    directory: Annotated[
        Path, typer.Argument(metavar="[DIR]", help="Folder for the demo's images.")
    ] = Path("demo"),
    workspace: Annotated[
        Path | None,
        typer.Option("--workspace", metavar="DIR", help="By default .tlx in the demo's folder."),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Write scikit-learn's 1,797 handwritten digits as images, embed them and fit a head.

    The workspace is DIR/.tlx unless --workspace says otherwise.
    """
    from ..classify.fit import fit_head
    from ..demo import write_digits
    from ..embed.pipeline import embed_images

    workspace = workspace or directory / DEFAULT_WORKSPACE
    images = directory / "digits"
    note(f"Writing the digits to {images} …")
    write_digits(images)
    with progress("Embedding") as show:
        embedded = embed_images(images, workspace=workspace, progress=show)
    run = fit_head("logreg", dataset=embedded.dataset, workspace=workspace)
    if as_json:
        emit({"embed": embed_dict(embedded), "fit_head": run_dict(run)})
        return
    picture = next(iter(sorted(images.glob("7/*.png"))))
    inside = f"--workspace {quoted(workspace)}"
    say(embed_text([embedded]))
    say()
    say(run_text(run).rsplit("\nNext:", 1)[0])
    say()
    say("Try next:")
    say(f"  tlx predict best {quoted(picture)} {inside}")
    say(f"  tlx report {inside}")
    say("  tlx embed YOUR_PHOTOS && tlx fit-head --model logreg")
