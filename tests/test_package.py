"""The package as a whole: its public names, what imports cost, its doctests, and the wheel."""

from __future__ import annotations

import ast
import importlib
import re
import shutil
import subprocess
import sys
import venv
import zipfile
from pathlib import Path

import pytest

import tlx

ROOT = Path(tlx.__file__).parent
# Their examples build the real backbone.
WITH_A_NETWORK = ("tlx.deploy.export", "tlx.deploy.network", "tlx.finetune.api")


@pytest.fixture(scope="module")
def packages(source_files) -> set[str]:
    """Return the names of all packages in the tree, "tlx" itself included."""
    inits = [path for path in source_files if path.name == "__init__.py"]
    return {".".join(["tlx", *path.relative_to(ROOT).parts[:-1]]) for path in inits}


def declared_packages() -> set[str]:
    """Return the packages that pyproject.toml lists (Python 3.10 has no tomllib)."""
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    found = re.search(r"^packages = (\[[^]]*\])", text, re.MULTILINE)
    assert found
    return set(ast.literal_eval(found[1]))


# Public names


def test_all_names_can_be_imported():
    for name in tlx.__all__:
        assert getattr(tlx, name) is not None


def test_all_is_sorted_and_what_dir_shows():
    assert tlx.__all__ == sorted(tlx.__all__)
    assert dir(tlx) == tlx.__all__


def test_public_names_live_where_the_type_checker_is_told():
    """The lazy names and the imports for type checkers are the same objects."""
    tree = ast.parse((ROOT / "__init__.py").read_text(encoding="utf-8"))
    (guarded,) = [node for node in tree.body if isinstance(node, ast.If)]
    told = {
        alias.asname or alias.name: (f"tlx.{node.module}", alias.name)
        for node in guarded.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
        if node.module
    }
    modules = {"heads"}
    assert sorted(["__version__", *told, *modules]) == tlx.__all__
    for name, (module, inner) in told.items():
        assert getattr(tlx, name) is getattr(importlib.import_module(module), inner)
    for name in modules:
        assert getattr(tlx, name) is importlib.import_module(f"tlx.{name}")


def test_no_public_name_is_that_of_a_subpackage(packages):
    assert not {f"tlx.{name}" for name in tlx.__all__} & packages


def test_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        tlx.nothing  # noqa: B018


def test_import_tlx_imports_nothing_heavy(python):
    shown = python("import sys, tlx; print([m for m in ('numpy', 'h5py') if m in sys.modules])")
    assert shown == "[]\n"


# Modules


def test_every_package_is_declared(packages):
    assert declared_packages() == packages


def module_names(source_files: list[Path], *folders: str) -> list[str]:
    return [
        ".".join(["tlx", *path.relative_to(ROOT).with_suffix("").parts])
        for path in source_files
        if path.relative_to(ROOT).parts[0] in folders or not folders
        if not path.stem.startswith("__")
    ]


def test_light_modules_import_no_network(python, source_files):
    """All of cache/, classify/, cli/ and what they import, at import time."""
    names = module_names(source_files, "cache", "classify", "cli")
    python(
        f"""
import importlib, sys
for name in {names}:
    importlib.import_module(name)
heavy = [m for m in ("tensorflow", "keras", "openvino", "matplotlib") if m in sys.modules]
assert not heavy, heavy
"""
    )


def test_every_module_says_what_it_is_for(source_files):
    for path in source_files:
        doc = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8")))
        assert doc, path
        assert doc.splitlines()[0].endswith((".", ":")), path


# Doctests


def run_examples(environment, *names: str) -> int:
    """Run the examples of modules and pages in one fresh interpreter; see tests/doctests.py."""
    process = subprocess.run(
        [sys.executable, ROOT / "tests" / "doctests.py", *names],
        env=environment, capture_output=True, encoding="utf-8", timeout=300, check=False,
    )  # fmt: skip
    assert process.returncode == 0, process.stdout + process.stderr
    return int(process.stdout.splitlines()[-1])


def test_doctests(environment, source_files):
    """All examples in docstrings run, with warnings as errors, but for those of a network."""
    names = set(module_names(source_files))
    assert run_examples(environment, *sorted(names - set(WITH_A_NETWORK))) >= 10


@pytest.mark.slow
def test_snippets_of_the_page_about_python(environment):
    assert run_examples(environment, str(ROOT / "docs" / "python.md")) >= 3


@pytest.mark.slow
def test_doctests_of_a_network(environment):
    assert run_examples(environment, *WITH_A_NETWORK) >= 7


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
def test_wheel_holds_the_packages_and_nothing_else(wheel, source_files):
    names = zipfile.ZipFile(wheel).namelist()
    expected = {str(Path("tlx") / path.relative_to(ROOT)) for path in source_files} | {
        "tlx/py.typed",
        *(
            str(Path("tlx") / path.relative_to(ROOT))
            for part in ("deploy", "report")
            for path in (ROOT / part).rglob("*")
            if path.suffix in (".css", ".html", ".js")  # of pages
        ),
    }
    assert {name for name in names if ".dist-info/" not in name} == expected
    assert any(name.endswith(".dist-info/licenses/LICENSE") for name in names)


@pytest.mark.slow
def test_wheel_works_outside_the_repository(wheel, tmp_path, environment, class_folders):
    """An empty environment with the wheel; the dependencies come from the one of the tests.

    A full installation of them takes minutes and the network. The folders of the dependencies are
    named in a .pth file, whose own .pth files are not followed: the editable tlx stays out.
    """
    venv.create(tmp_path / "env", with_pip=False)
    interpreter = tmp_path / "env" / ("Scripts" if sys.platform == "win32" else "bin") / "python"
    purelib = subprocess.run(
        [interpreter, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"],
        check=True, capture_output=True, text=True,
    ).stdout.strip()  # fmt: skip
    subprocess.run(
        [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--target", purelib, wheel],
        check=True,
    )
    folders = [path for path in sys.path if Path(path).name in ("site-packages", "dist-packages")]
    (Path(purelib) / "dependencies.pth").write_text("\n".join([*folders, ""]))
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
