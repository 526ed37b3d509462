"""Run examples: ``python doctests.py MODULE… PAGE.md…``, each in a folder with a few photos.

The folder has 12 pictures each in ``photos/blue`` and ``photos/red``, embedded into ``.tlx`` by a
stand-in for the network: nothing heavy is imported unless an example computes features of its own.
Every docstring begins with that folder as it was; the snippets of a page share one. It prints how
many examples ran.
"""

from __future__ import annotations

import doctest
import importlib
import os
import re
import shutil
import sys
import tempfile
import warnings
from pathlib import Path

import numpy as np
from conftest import GridEngine, class_image

import tlx


class StandIn(GridEngine):
    """Features as many as those of the default backbone."""

    output_shape = (1280,)

    def __call__(self, batch: np.ndarray) -> np.ndarray:
        return np.tile(super().__call__(batch), 27)[:, :1280]


class Folder:
    """The current folder of the examples, which can be made as new."""

    def __init__(self, root: Path) -> None:
        self._here, self._template = root / "here", root / "template"
        for label in ("blue", "red"):
            (self._here / "photos" / label).mkdir(parents=True)
            for number in range(12):
                path = self._here / "photos" / label / f"{number}.png"
                path.write_bytes(class_image(label, number))
                os.utime(path, (1.7e9, 1.7e9))
        os.chdir(self._here)
        tlx.embed_images("photos", engine=StandIn())
        shutil.copytree(self._here, self._template)

    def renew(self) -> None:
        os.chdir(self._template)
        shutil.rmtree(self._here)
        shutil.copytree(self._template, self._here)
        os.chdir(self._here)


def run_docstrings(module_name: str, folder: Folder) -> int:
    """Run the examples of a module; return how many there were."""
    runner = doctest.DocTestRunner()
    for test in doctest.DocTestFinder().find(importlib.import_module(module_name)):
        if test.examples:
            folder.renew()
            runner.run(test)
    assert not runner.summarize().failed, module_name
    return runner.tries


def run_page(page: Path, folder: Folder) -> int:
    """Run the Python blocks of a page of Markdown one after the other."""
    names: dict[str, object] = {}
    blocks = re.findall(r"^```python\n(.*?)^```", page.read_text("utf-8"), re.MULTILINE | re.DOTALL)
    folder.renew()
    for block in blocks:
        exec(compile(block, str(page), "exec"), names)
    return len(blocks)


def main(names: list[str]) -> int:
    warnings.simplefilter("error")
    warnings.filterwarnings("ignore", "__array__ implementation")  # Keras, saving a model
    pages = [Path(name).absolute() for name in names if name.endswith(".md")]
    with tempfile.TemporaryDirectory() as root:
        folder = Folder(Path(root))
        ran = sum(run_docstrings(name, folder) for name in names if not name.endswith(".md"))
        ran += sum(run_page(page, folder) for page in pages)
        os.chdir("/")
    return ran


if __name__ == "__main__":
    sys.stdout.write(f"{main(sys.argv[1:])}\n")
