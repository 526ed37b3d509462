"""The programs for those without tlx: they see what tlx sees and say what it says."""

from __future__ import annotations

import functools
import importlib.util
import io
import re
import shutil
import subprocess
import sys
import venv
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from PIL import Image

import tlx
from tlx.deploy.formats.registry import formats
from tlx.embed.images import decode_image

EXAMPLES = Path(tlx.__file__).parent / "examples"
FITS = ("squash", "crop", "pad")
FILTERS = ("nearest", "bilinear", "bicubic", "lanczos")
RUNTIMES = sorted(set(formats()) - {"web"})  # a page is a program already


@pytest.fixture(scope="module", autouse=True)
def _in_a_checkout(source_files):
    """Skip where tlx is installed without its examples."""


@pytest.fixture(scope="module")
def photo() -> ModuleType:
    """Return the module that the programs share."""
    spec = importlib.util.spec_from_file_location("photo", EXAMPLES / "photo.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def stored(image: Image.Image, kind: str, **options) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def turned(orientation: int) -> Image.Exif:
    exif = Image.Exif()
    exif[274] = orientation
    return exif


@pytest.fixture(scope="module")
def photos(camera_photo) -> dict[str, bytes]:
    """Return files of all kinds that are decoded in ways of their own."""
    large = camera_photo(1100, 820)
    small = Image.open(io.BytesIO(large)).resize((160, 97))
    shade = Image.linear_gradient("L").resize(small.size)
    grey = np.asarray(shade).astype(np.uint16) * 251
    return {
        "large.jpg": large,
        "small.jpg": stored(small, "JPEG"),
        "grey.jpg": stored(small.convert("L"), "JPEG"),
        "clear.png": stored(Image.merge("RGBA", (*small.split(), shade)), "PNG"),
        "palette.png": stored(small.convert("P"), "PNG"),
        "deep.png": stored(Image.fromarray(grey), "PNG"),
        "a.webp": stored(small, "WEBP"),
        **{f"turned {n}.jpg": stored(small, "JPEG", exif=turned(n)) for n in range(2, 9)},
    }


@pytest.mark.parametrize("fit", FITS)
@pytest.mark.parametrize("interpolation", FILTERS)
def test_pixels_are_those_of_tlx(photo, photos, tmp_path, fit, interpolation):
    predictor = {"image_size": 96, "fit": fit, "interpolation": interpolation}
    for name, data in photos.items():
        (tmp_path / name).write_bytes(data)
        found = photo.pixels(tmp_path / name, predictor)
        expected = decode_image(data, 96, fit=fit, interpolation=interpolation).pixels
        np.testing.assert_array_equal(found, expected[None], err_msg=name)


def named_packages(program: Path) -> list[str]:
    """Return what the head of a program says is to be installed."""
    (line,) = re.findall(r"pip install (.+)", program.read_text(encoding="utf-8"))
    return line.split()


@pytest.mark.parametrize("name", RUNTIMES)
def test_each_format_has_its_program(name):
    page = (EXAMPLES / "README.md").read_text(encoding="utf-8")
    packages = " ".join(named_packages(EXAMPLES / f"with_{name}.py"))
    assert f"| `{name}` | [with_{name}.py](with_{name}.py) | `{packages}` |" in page


@pytest.fixture(scope="module")
def project(photos, camera_photo, tmp_path_factory) -> Path:
    """Return a folder with a run on photos of two kinds, and what is to be predicted."""
    folder = tmp_path_factory.mktemp("project")
    for label in ("amber", "teal"):
        (folder / "data" / label).mkdir(parents=True)
        for number in range(8):
            data = camera_photo(500, 375, label, number)
            (folder / "data" / label / f"{number}.jpg").write_bytes(data)
    (folder / "new").mkdir()
    for name, data in photos.items():
        (folder / "new" / name).write_bytes(data)
    tlx.embed_images(folder / "data", workspace=folder / ".tlx")
    tlx.fit_head("logreg", workspace=folder / ".tlx")
    return folder


@pytest.fixture(scope="module")
def interpreter_with(tmp_path_factory) -> Iterator[Callable[..., Path]]:
    """Return ``interpreter_with(*packages)``, of an environment that has nothing else."""
    folder = tmp_path_factory.mktemp("environments")

    @functools.cache
    def make(*packages: str) -> Path:
        place = folder / "-".join(packages)
        venv.create(place, with_pip=True)
        interpreter = place / ("Scripts" if sys.platform == "win32" else "bin") / "python"
        command = [interpreter, "-m", "pip", "install", "-q", *packages]
        if subprocess.run(command, check=False).returncode:
            pytest.skip(f"{' '.join(packages)} cannot be installed here")
        return interpreter

    yield make
    shutil.rmtree(folder)  # TensorFlow has 2 GB, and pytest keeps the folders of three sessions


@pytest.mark.slow
@pytest.mark.parametrize("name", RUNTIMES)
def test_a_program_says_what_tlx_says_with_only_what_it_names(
    name, project, interpreter_with, tmp_path, environment
):
    formats()[name].require()
    program = EXAMPLES / f"with_{name}.py"
    interpreter = interpreter_with(*named_packages(program))
    tlx.export_run("best", name, tmp_path / "export", workspace=project / ".tlx")
    files = sorted((project / "new").iterdir())
    clean = {key: value for key, value in environment.items() if key != "PYTHONPATH"}
    done = subprocess.run(
        [interpreter, program, tmp_path / "export", *files],
        env=clean, capture_output=True, encoding="utf-8", check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    said = {line.split("\t")[0]: line.split("\t")[1:] for line in done.stdout.splitlines()}
    expected = tlx.predict_images("best", files, workspace=project / ".tlx")
    assert len(said) == len(expected) == len(files)
    for row in expected:
        label, confidence = said[str(row.path)]
        assert label == row.label, row.path
        assert float(confidence) == pytest.approx(row.confidence, abs=1e-3)
