import pytest

from tlx.commands import complete_commands


@pytest.mark.parametrize(
    ("text", "completed"),
    [
        ("tlx audit", "tlx audit --workspace w --dataset d"),
        ("Run tlx embed DATA first.", "Run tlx embed --workspace w DATA first."),
        ("Run tlx report.", "Run tlx report --workspace w --dataset d."),
        ("(tlx cache verify)", "(tlx cache verify --workspace w)"),
        ("tlx report --dataset cats", "tlx report --workspace w --dataset cats"),
        ("tlx runs --workspace v", "tlx runs --workspace v"),
        ("tlx predict best x; tlx evaluate best y", None),
        ("Run tlx backbones.", "Run tlx backbones."),
        ("tlx looks at it", "tlx looks at it"),
    ],
)
def test_commands_name_workspace_and_data_set(text, completed):
    if completed is None:
        completed = "tlx predict --workspace w best x; tlx evaluate --workspace w best y"
    assert complete_commands(text, "w", "d") == completed


@pytest.mark.parametrize(
    "path", ["my/tlx report", "tlx report/1.jpg", "/a/tlx audit/b", "old-tlx embed", "tlx embed-2"]
)
def test_what_is_part_of_a_path_is_no_command(path):
    assert complete_commands(path, "w", "d") == path


def test_what_needs_no_name_gets_none():
    assert complete_commands("tlx audit") == "tlx audit"


def test_names_are_quoted_for_a_shell():
    assert complete_commands("tlx audit", "a b", "c;d") == (
        "tlx audit --workspace 'a b' --dataset 'c;d'"
    )
