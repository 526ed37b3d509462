"""The package as a whole: its public names, its layers, its doctests, and the wheel."""

from __future__ import annotations

import ast
import re
import shutil
import subprocess
import sys
import sysconfig
import venv
import zipfile
from pathlib import Path

import pytest

import tlx

ROOT = Path(tlx.__file__).parent
NOT_PACKAGES = {"tests", "benchmarks", "docs", "examples", "build"}

# From the top down; a module may import its own layer and those after it. What is not named here
# (identity, errors and the like below the folders) counts by its folder.
LAYERS = [
    "cli", "report", "finetune", "classify", "embed", "workspace", "cache", "lazy_imports",
    "errors",
]  # fmt: skip
TOP_LEVEL = {"__init__": "cli", "__main__": "cli", "demo": "classify", "_version": "errors"}


def packages() -> set[str]:
    """Return the names of all packages in the tree, "tlx" itself included."""
    inits = [path.relative_to(ROOT) for path in ROOT.glob("*/**/__init__.py")]
    own = [p for p in inits if p.parts[0] not in NOT_PACKAGES and not p.parts[0].startswith(".")]
    return {"tlx", *(".".join(["tlx", *path.parent.parts]) for path in own)}


def modules() -> list[Path]:
    """Return the source files of the package."""
    folders = [ROOT, *(ROOT.joinpath(*name.split(".")[1:]) for name in packages() - {"tlx"})]
    return sorted(path for folder in folders for path in folder.glob("*.py"))


def declared_packages() -> set[str]:
    """Return the packages that pyproject.toml lists (Python 3.10 has no tomllib)."""
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    found = re.search(r"^packages = (\[[^]]*\])", text, re.MULTILINE)
    assert found
    return set(ast.literal_eval(found[1]))


@pytest.fixture(autouse=True)
def _in_a_checkout():
    if not (ROOT / "pyproject.toml").exists():
        pytest.skip("tlx is installed without its source tree")


# Public names


def test_all_names_can_be_imported():
    for name in tlx.__all__:
        assert getattr(tlx, name) is not None


def test_all_is_exact():
    assert tlx.__all__ == sorted(tlx.__all__)
    assert sorted(tlx.__all__) == sorted({"__version__", *tlx._HOME})
    assert dir(tlx) == tlx.__all__


def test_public_names_live_where_the_type_checker_is_told():
    """The lazy table and the imports for type checkers name the same things."""
    tree = ast.parse((ROOT / "__init__.py").read_text(encoding="utf-8"))
    (guarded,) = [node for node in tree.body if isinstance(node, ast.If)]
    told = {
        alias.name: f".{node.module}"
        for node in guarded.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    assert told == tlx._HOME


def test_no_public_name_is_that_of_a_subpackage():
    assert not {f"tlx.{name}" for name in tlx.__all__} & packages()


def test_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        tlx.nothing  # noqa: B018


def test_import_tlx_imports_nothing_heavy(python):
    shown = python("import sys, tlx; print([m for m in ('numpy', 'h5py') if m in sys.modules])")
    assert shown == "[]\n"


# Layers


def test_every_package_is_declared():
    assert declared_packages() == packages()


def layer_of(path: Path) -> str:
    inside = path.relative_to(ROOT)
    return inside.parts[0] if len(inside.parts) > 1 else TOP_LEVEL.get(path.stem, path.stem)


def imported_layers(path: Path) -> set[str]:
    """Return the layers that a module imports from, lazily or at once, but not for types only."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for_types = {
        id(inner)
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)
        for inner in ast.walk(node)
    }
    depth = len(path.relative_to(ROOT).parts)
    found = set()
    for node in ast.walk(tree):
        if not isinstance(node, ast.ImportFrom) or node.level != depth or id(node) in for_types:
            continue
        for name in [node.module] if node.module else [alias.name for alias in node.names]:
            top = name.split(".")[0]
            found.add(TOP_LEVEL.get(top, top))
    return found


@pytest.mark.parametrize("path", modules(), ids=lambda path: str(path.relative_to(ROOT)))
def test_no_layer_imports_a_higher_one(path):
    mine = LAYERS.index(layer_of(path))
    higher = {name for name in imported_layers(path) if LAYERS.index(name) < mine}
    assert not higher, f"{layer_of(path)} imports {higher}"


@pytest.mark.parametrize("path", modules(), ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_inside_the_package_are_relative(path):
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            assert not [alias for alias in node.names if alias.name.split(".")[0] == "tlx"]
        if isinstance(node, ast.ImportFrom) and not node.level:
            assert (node.module or "").split(".")[0] != "tlx"


def module_names(*folders: str) -> list[str]:
    return [
        ".".join(["tlx", *path.relative_to(ROOT).with_suffix("").parts])
        for path in modules()
        if ".".join(path.relative_to(ROOT).parts[:-1]).split(".")[0] in folders
        and path.stem != "__main__"
    ]


def test_light_modules_import_no_network(python):
    """All of cache/, classify/, cli/ and what they import, at import time."""
    names = [name for name in module_names("cache", "classify", "cli") if "__" not in name]
    python(
        f"""
import importlib, sys
for name in {names}:
    importlib.import_module(name)
heavy = [m for m in ("tensorflow", "keras", "openvino", "matplotlib") if m in sys.modules]
assert not heavy, heavy
"""
    )


def test_every_module_says_what_it_is_for():
    for path in modules():
        doc = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8")))
        assert doc, path
        assert doc.splitlines()[0].endswith((".", ":")), path


# Doctests


def test_doctests(python, tmp_path):
    """All examples in docstrings run, in one fresh interpreter that turns warnings to errors."""
    names = [name for name in module_names("", *LAYERS) if "__init__" not in name]
    shown = python(
        f"""
import doctest, importlib, warnings
warnings.simplefilter("error")
ran = 0
for name in {names}:
    result = doctest.testmod(importlib.import_module(name))
    assert not result.failed, name
    ran += result.attempted
print(ran)
""",
        cwd=tmp_path,
    )
    assert int(shown) >= 10


# The wheel


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
    """Return a wheel built from a copy of the tree, so that the tree stays as it is."""
    pytest.importorskip("setuptools")
    folder = tmp_path_factory.mktemp("wheel")
    unwanted = shutil.ignore_patterns(".*", "*.egg-info", "__pycache__", "build", "demo")
    shutil.copytree(ROOT, folder / "source", ignore=unwanted)
    subprocess.run(
        [sys.executable, "-m", "build", "--wheel", "--outdir", folder, folder / "source"],
        check=True,
        capture_output=True,
    )
    (path,) = folder.glob("*.whl")
    return path


@pytest.mark.slow
def test_wheel_holds_the_packages_and_nothing_else(wheel):
    names = zipfile.ZipFile(wheel).namelist()
    expected = {str(Path("tlx") / path.relative_to(ROOT)) for path in modules()} | {"tlx/py.typed"}
    assert {name for name in names if ".dist-info/" not in name} == expected
    assert any(name.endswith(".dist-info/licenses/LICENSE") for name in names)


@pytest.mark.slow
def test_wheel_works_outside_the_repository(wheel, tmp_path, environment, class_folders):
    """An empty environment with the wheel; the dependencies come from the one of the tests.

    A full installation of them takes minutes and the network. The folder of the dependencies is
    named in a .pth file, whose own .pth files are not followed: the editable tlx stays out.
    """
    venv.create(tmp_path / "env", with_pip=False)
    interpreter = tmp_path / "env" / ("Scripts" if sys.platform == "win32" else "bin") / "python"
    purelib = subprocess.run(
        [interpreter, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"],
        check=True, capture_output=True, text=True,
    ).stdout.strip()  # fmt: skip
    subprocess.run(
        [
            sys.executable,
            "-m",
            "pip",
            "install",
            "--quiet",
            "--no-deps",
            "--target",
            purelib,
            wheel,
        ],
        check=True,
    )
    (Path(purelib) / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
    class_folders(tmp_path / "data", {"cats": 1, "dogs": 1})

    def run(*arguments: str) -> str:
        process = subprocess.run(
            [interpreter, *arguments],
            cwd=tmp_path, env=environment, capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert process.returncode == 0, process.stderr
        return process.stdout

    assert run("-c", "import tlx; print(tlx.__file__)").startswith(purelib)
    assert run("-m", "tlx", "--version") == f"tlx {tlx.__version__}\n"
    assert "2 embedded" in run("-m", "tlx", "embed", "data")
