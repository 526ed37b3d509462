"""The shape of the code: small files, small functions, a test beside each module."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import tlx

ROOT = Path(tlx.__file__).parent
LINES_OF_A_FILE = 450
LINES_OF_A_FUNCTION = 60

# Modules that need no test file of their own, and why.
UNTESTED = {
    "__init__": "names only: test_package",
    "_version": "one constant: test_package",
    "__main__": "one call: every test that runs the command",
}

# What is still to be mended. A test fails too where one of these is needed no longer.
LONG_FILES: set[str] = set()
LONG_FUNCTIONS: set[str] = set()
WITHOUT_TEST: set[str] = set()
PRIVATE: set[str] = set()


@pytest.fixture(scope="module")
def all_files(source_files) -> list[Path]:
    """Return the source files of package, tests and benchmarks."""
    others = [path for part in ("tests", "benchmarks") for path in (ROOT / part).rglob("*.py")]
    return [*source_files, *sorted(others)]


def inside(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def test_no_file_is_long(all_files):
    lines = {inside(path): len(path.read_bytes().splitlines()) for path in all_files}
    assert {name for name, count in lines.items() if count > LINES_OF_A_FILE} == LONG_FILES


def lines_of_code(function: ast.FunctionDef | ast.AsyncFunctionDef, path: Path) -> int:
    """Count lines that are neither empty, comment nor docstring, nor options of a command."""
    lines = path.read_text(encoding="utf-8").splitlines()
    is_command = any("Annotated" in ast.unparse(argument) for argument in function.args.args)
    start = function.body[0]
    has_docstring = ast.get_docstring(function) is not None
    docstring = range(start.lineno, (start.end_lineno or 0) + 1) if has_docstring else range(0)
    first = start.lineno if is_command else function.lineno
    numbers = set(range(first, (function.end_lineno or 0) + 1)) - set(docstring)
    texts = [lines[number - 1].strip() for number in numbers]
    return sum(bool(text) and not text.startswith("#") for text in texts)


def test_no_function_is_long(all_files):
    long = {
        f"{inside(path)}::{node.name}"
        for path in all_files
        for node in ast.walk(parsed(path))
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))
        and lines_of_code(node, path) > LINES_OF_A_FUNCTION
    }
    assert long == LONG_FUNCTIONS


def test_each_module_has_its_test(source_files):
    without = {
        inside(path)
        for path in source_files
        if path.stem not in UNTESTED
        and not (ROOT / "tests" / path.relative_to(ROOT).parent / f"test_{path.stem}.py").exists()
    }
    assert without == WITHOUT_TEST


def private_names(path: Path) -> Iterator[str]:
    """Yield the private names of tlx that a test imports, or reaches into a module for."""
    tree = parsed(path)
    modules = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "tlx":
            modules |= {alias.asname or alias.name for alias in node.names}
            yield from (alias.name for alias in node.names if is_private(alias.name))
        elif isinstance(node, ast.Import):
            names = {alias.name: alias.asname or alias.name for alias in node.names}
            modules |= {name for module, name in names.items() if module.split(".")[0] == "tlx"}
    for node in ast.walk(tree):
        owner, name = None, None
        if isinstance(node, ast.Attribute):
            owner, name = node.value, node.attr
        elif isinstance(node, ast.Call) and ast.unparse(node.func).endswith("setattr"):
            owner, name = (*node.args, None, None)[:2]
            name = name.value if isinstance(name, ast.Constant) else None
        if owner is not None and ast.unparse(owner) in modules and is_private(str(name)):
            yield str(name)


def is_private(name: str) -> bool:
    return name.startswith("_") and not name.startswith("__")


def test_tests_reach_into_no_privates(all_files):
    tests = [path for path in all_files if inside(path).startswith("tests/")]
    assert not {f"{inside(path)}::{name}" for path in tests for name in private_names(path)}
