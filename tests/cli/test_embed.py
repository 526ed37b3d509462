"""``tlx embed``: its JSON, its text, and what it says when something is wrong."""

from __future__ import annotations

import json
import resource
import shutil

import pytest

KEYS = {
    "dataset", "images", "embedded", "reused", "unreadable", "fingerprint", "spec", "dim",
    "classes", "seconds", "images_per_second", "engine",
}  # fmt: skip


def test_json_has_the_keys_of_the_contract(real_project):
    result = real_project.embedded
    assert result.keys() >= KEYS
    assert (result["images"], result["embedded"], result["reused"]) == (24, 24, 0)
    assert (result["dataset"], result["dim"], result["unreadable"]) == ("data", 1280, [])
    assert result["classes"] == {"amber": 12, "blue": 12}
    assert result["spec"]["backbone"] == "efficientnet-lite0"
    assert len(result["fingerprint"]) == 64
    assert result["engine"] in ("openvino", "tensorflow")
    assert result["images_per_second"] == pytest.approx(24 / result["seconds"])


def test_second_run_imports_no_network(project, python):
    """The light features of the project are found, so no engine is loaded."""
    python(
        """
import sys
from tlx.cli.main import app
app(["embed", "data"], standalone_mode=False)
heavy = [name for name in ("tensorflow", "keras", "openvino", "sklearn") if name in sys.modules]
assert not heavy, heavy
""",
        cwd=project,
    )


def test_text_of_a_second_run(project, tlx):
    text = tlx("embed", "data", cwd=project).stdout
    assert "37 images in data set 'data' (amber 13, blue 12, coral 12)" in text
    assert "0 embedded, 37 reused, 0 unreadable" in text
    assert "efficientnet-lite0 at 224 (fingerprint " in text
    assert text.endswith("Next: tlx fit-head --model logreg,lda\n")


def test_nothing_is_said_on_stderr_when_all_is_well(project, tlx):
    assert tlx("embed", "data", "--json", cwd=project).stderr == ""


def test_unreadable_images_are_listed_with_their_reasons(project, tlx):
    (project / "data" / "blue" / "fake.jpg").write_text("not a picture")
    (project / "data" / "blue" / "empty.png").touch()
    text = tlx("embed", "data", cwd=project).stdout
    assert "2 unreadable" in text
    assert "blue/empty.png  empty file\n" in text
    assert "blue/fake.jpg   not an image (" in text
    result = json.loads(tlx("embed", "data", "--json", cwd=project).stdout)
    assert [item["path"] for item in result["unreadable"]] == ["blue/empty.png", "blue/fake.jpg"]


def test_many_unreadable_images_are_cut_short(project, tlx):
    for number in range(25):
        (project / "data" / "blue" / f"bad{number:02}.png").touch()
    text = tlx("embed", "data", cwd=project).stdout
    assert text.count("empty file") == 20
    assert "… and 5 more" in text


def test_strict_fails_on_the_first_bad_image(project, tlx):
    (project / "data" / "blue" / "empty.png").touch()
    shown = tlx("embed", "data", "--strict", cwd=project, code=1)
    assert "1 of 38 images cannot be read; the first: blue/empty.png: empty file." in shown.stderr
    assert "leave out --strict" in shown.stderr


def test_what_was_passed_over_is_told(project, tlx):
    (project / "data" / "notes.txt").write_text("no image")
    (project / "data" / "empty").mkdir()
    shutil.copy(project / "data" / "blue" / "0000.png", project / "data" / "stray.png")
    text = tlx("embed", "data", cwd=project).stdout
    assert "ignored, not images: .txt 1" in text
    assert "ignored, beside the class folders: 1 images" in text
    assert "class folders without images: empty" in text


def test_images_without_classes_are_embedded_and_no_head_is_proposed(project, tlx):
    shutil.copytree(project / "data" / "blue", project / "flat")
    text = tlx("embed", "flat", cwd=project).stdout
    assert "12 images in data set 'flat'\n" in text
    assert "Next:" not in text


def test_names_with_control_characters_do_not_reach_the_terminal(project, tlx):
    (project / "data" / "blue" / "a\x1b[31m\nb.png").touch()
    text = tlx("embed", "data", cwd=project).stdout
    assert "\x1b" not in text
    assert r"blue/a\x1b[31m\nb.png  empty file" in text


def test_names_that_are_not_utf8(project, tlx):
    name = b"\xff.png".decode("utf-8", "surrogateescape")
    try:
        (project / "data" / "blue" / name).touch()
    except OSError:
        pytest.skip("the file system takes no such names")
    assert "empty file" in tlx("embed", "data", cwd=project).stdout
    result = json.loads(tlx("embed", "data", "--json", cwd=project).stdout)
    assert result["unreadable"][0]["path"] == f"blue/{name}"


def test_validation_fraction(project, tlx):
    result = json.loads(
        tlx("embed", "data", "--validation-fraction", "0.4", "--json", cwd=project).stdout
    )
    assert set(result["splits"]) == {"train", "validation"}
    assert result["embedded"] == 0


def test_a_repeated_embed_keeps_the_split(project, tlx):
    first = json.loads(
        tlx("embed", "data", "--validation-fraction", "0.4", "--json", cwd=project).stdout
    )
    again = json.loads(tlx("embed", "data", "--json", cwd=project).stdout)
    assert again["splits"] == first["splits"]
    assert again["validation_fraction"] == 0.4
    text = tlx("embed", "data", cwd=project).stdout
    assert "at --validation-fraction 0.4" in text
    none = json.loads(
        tlx("embed", "data", "--validation-fraction", "0", "--json", cwd=project).stdout
    )
    assert none["splits"] == {}


def test_same_files_in_two_classes_are_told(project, tlx):
    shutil.copy(project / "data" / "blue" / "0003.png", project / "data" / "coral" / "x.png")
    text = tlx("embed", "data", cwd=project).stdout
    assert "1 pairs of files are the same" in text
    assert "blue/0003.png  coral/x.png" in text


def test_the_old_name_of_resize_works_and_is_hidden(project, tlx):
    shown = tlx("embed", "data", "--fit", "croup", cwd=project, code=2)
    assert "croup" in shown.stderr
    assert "--fit" not in tlx("embed", "--help").stdout
    assert "--resize" in tlx("embed", "--help").stdout


def test_an_image_size_beyond_the_memory_names_the_largest(project, tlx):
    shown = tlx("embed", "data", "--image-size", "1000000", cwd=project, code=1)
    assert "images of 1000000 pixels need about" in shown.stderr
    assert "The largest that fits is --image-size" in shown.stderr


def test_name(project, tlx):
    result = json.loads(tlx("embed", "data", "--name", "mine", "--json", cwd=project).stdout)
    assert result["dataset"] == "mine"
    assert (project / ".tlx" / "datasets" / "mine.h5").exists()


# Errors


@pytest.mark.parametrize(
    ("arguments", "cause", "remedy"),
    [
        (["nowhere"], "does not exist", "Check the path."),
        ([".tlx/runs"], "no images in", "one folder a class"),
        pytest.param(
            *(["data", "--backbone", "eficientnet-lite0"], "unknown backbone: 'eficient", "-lite0"),
            marks=pytest.mark.slow,  # what others there are Keras knows
        ),
        (["data", "--validation-fraction", "20"], "20.0 is not between 0 and 1", "Try 0.2"),
        (["data", "--name", "a/b"], "'a/b' is no data set name", "'a-b'"),
    ],
)
def test_errors_name_cause_and_remedy(arguments, cause, remedy, tlx, shared_project):
    shown = tlx("embed", *arguments, cwd=shared_project, code=1)
    lines = shown.stderr.splitlines()
    assert cause in lines[0]
    assert remedy in lines[1]


def test_nothing_readable_at_all(tlx, tmp_path):
    (tmp_path / "data" / "cats").mkdir(parents=True)
    (tmp_path / "data" / "cats" / "a.jpg").write_text("not a picture")
    assert "none of the 1 images can be read" in tlx("embed", "data", code=1).stderr


def test_read_only_workspace(tlx, tmp_path, class_folders, bound):
    class_folders(tmp_path / "data", {"cats": 1})
    (tmp_path / "closed").mkdir(mode=0o555)
    shown = tlx("embed", "data", "--workspace", "closed", code=1, preexec_fn=bound)
    assert "cannot be written: Permission denied." in shown.stderr
    assert "--workspace DIR" in shown.stderr
    assert "Traceback" not in shown.stderr


def test_workspace_that_is_a_file(tlx, tmp_path, class_folders):
    class_folders(tmp_path / "data", {"cats": 1})
    (tmp_path / "file").touch()
    shown = tlx("embed", "data", "--workspace", "file", code=1)
    assert "file is a file, not a folder" in shown.stderr


def small_files() -> None:
    """Let no file grow beyond a kilobyte: what a full disk does, without one."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (1024, 1024))


def test_full_disk(project, tlx):
    before = (project / ".tlx" / "datasets" / "data.h5").read_bytes()
    shown = tlx("embed", "data", cwd=project, code=1, preexec_fn=small_files)
    assert "no space left for" in shown.stderr
    assert "Free some space" in shown.stderr
    assert (project / ".tlx" / "datasets" / "data.h5").read_bytes() == before
    assert not list(project.rglob("*.tmp"))


def test_unreadable_folder(project, tlx, bound):
    (project / "data" / "blue").chmod(0)
    try:
        shown = tlx("embed", "data", cwd=project, code=1, preexec_fn=bound)
    finally:
        (project / "data" / "blue").chmod(0o755)
    assert "blue cannot be read: Permission denied." in shown.stderr
