"""The pages tell of commands, options and files that exist."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Any

import pytest
import typer.main

import tlx
from tlx.classify.findings.registry import kinds
from tlx.cli.main import app

ROOT = Path(tlx.__file__).parent
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")])
COMMAND: Any = typer.main.get_command(app)


@pytest.fixture(autouse=True)
def _in_a_checkout(source_files):
    """Skip where tlx is installed without its pages."""


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page):
    links = re.findall(r"\]\(([^)#:]+?)(?:#[^)]*)?\)", page.read_text(encoding="utf-8"))
    assert not [link for link in links if not (page.parent / link).exists()]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_source_files_that_are_named_exist(page):
    text = page.read_text(encoding="utf-8")
    parts = "benchmarks|cache|classify|cli|deploy|embed|finetune|report|tests"
    named = re.findall(rf"\b(?:{parts})/[\w/]+\.py\b", text)
    assert not [name for name in named if not (ROOT / name).exists()]


def typed(text: str) -> list[str]:
    """Return the commands of a page: lines of code blocks, and what stands between backticks.

    A line of a table of figures is none.
    """
    lines = re.findall(r"^    (?!.*  \d)(?:.*? )??(tlx [a-z].*)$", text, re.MULTILINE)
    return [*lines, *re.findall(r"`(tlx [a-z][^`]*)`", text)]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_commands_and_their_options_exist(page):
    if page.name == "CHANGELOG.md":
        return  # tells of what was, too
    for line in typed(page.read_text(encoding="utf-8")):
        words = shlex.split(line, comments=True)[1:]
        command = COMMAND
        while hasattr(command, "commands") and words and not words[0].startswith("-"):
            assert words[0] in command.commands, line
            command = command.commands[words.pop(0)]
        context = command.make_context("tlx", [], resilient_parsing=True)
        known = {name for parameter in command.get_params(context) for name in parameter.opts}
        given = {word.split("=")[0] for word in words if word.startswith("--")}
        assert given <= known | {"--help"}, line


def test_the_readme_has_every_command():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert not {name for name in COMMAND.commands if f"`tlx {name}" not in text}


@pytest.mark.parametrize("kind", kinds().values(), ids=lambda kind: kind.name)
def test_every_kind_of_finding_has_its_section(kind):
    text = (ROOT / "docs" / "findings.md").read_text(encoding="utf-8")
    assert f"\n## {kind.code} {kind.name}\n" in text
