import shlex
from dataclasses import replace

import pytest

import tlx
from tlx.classify.duplicates import ToldDuplicates
from tlx.classify.runs.run import Finetuning
from tlx.report import figures
from tlx.report.album import Album
from tlx.report.judged import Judged
from tlx.workspace import Workspace


@pytest.fixture(scope="module")
def comparison(studio):
    return tlx.compare_heads(workspace=studio / ".tlx")


@pytest.fixture
def judged(audit):
    return Judged(audit.runs[0])


@pytest.fixture
def album(audit):
    return Album(audit.evidence.manifest)


def tuned(run, **report):
    return replace(run, info=replace(run.info, finetune=Finetuning("lda-1", "head", report)))


def test_the_verdict_tells_the_share_of_right_ones_and_the_others(comparison, judged):
    accuracy = judged.run.metrics["accuracy"]
    told = figures.verdict(comparison, judged)
    assert f"{accuracy.value:.1%}" in told
    assert f"{accuracy.low:.1%} to {accuracy.high:.1%}" in told
    alone = replace(comparison, rows=[r for r in comparison.rows if r.run.id == judged.run.id])
    assert figures.verdict(alone, judged).endswith("confidence.")


@pytest.mark.parametrize(
    ("place", "said"),
    [
        ("best", "None of the 2 others is better"),
        ("worse", "gets more of them right, beyond chance"),
        ("not known", "is better is not known"),
    ],
)
def test_the_verdict_never_claims_what_is_not_known(comparison, judged, place, said):
    rows = [replace(r, verdict=place) if r.run.id == judged.run.id else r for r in comparison.rows]
    assert said in figures.verdict(replace(comparison, rows=rows), judged)


def test_heads_are_told_with_the_figures_of_compare(comparison):
    rows = figures.heads(comparison)
    assert [row.run for row in rows] == [row.run.id for row in comparison.rows]
    assert rows[0].difference == ""
    second = comparison.rows[1].difference
    assert rows[1].difference.startswith(f"{100 * second.value:+.1f} (")


def test_each_cell_of_the_matrix_has_its_photos(judged, album):
    found = figures.confusion(judged, album)
    assert [[cell.n for cell in row] for row in found.rows] == judged.run.info.confusion
    for key, numbers in found.photos.items():
        true, predicted = map(int, key.split("-"))
        paths = {album.paths[number] for number in numbers}
        rows = judged.cell(true, predicted, 1000)
        assert paths <= {judged.scored.path[row] for row in rows}
        assert len(paths) == len(rows) if true != predicted else len(paths) <= 12
    off = sum(cell.n for cell in found.pairs)
    assert off == len(judged.wrong)


def test_mistakes_suggest_what_was_said(judged, album):
    cards = figures.mistakes(judged, album)
    assert len(cards) == len(judged.wrong)
    first = judged.wrong[0]
    assert cards[0].cards[0].suggested == judged.run.class_names[judged.predicted[first]]


def test_classes_come_with_the_least_f1_first(audit):
    rows = figures.classes(audit.runs[0])
    reports = {r.name: r for r in audit.runs[0].per_class()}
    assert [row.name for row in rows] == sorted(reports, key=lambda n: reports[n].f1.value)
    assert all("(" in row.recall for row in rows)


def test_calibration_has_the_numbers_of_its_diagram(judged):
    found = figures.calibration(judged)
    assert len(found["rows"]) == found["chart"].count('class="dot"')


def test_a_fine_tuning_has_its_curve(audit):
    epochs = [
        {"epoch": 0, "train_loss": None, "val_loss": 0.5, "val_accuracy": 0.8, "best": False},
        {"epoch": 1, "train_loss": 0.4, "val_loss": 0.3, "val_accuracy": 0.9, "best": True},
    ]
    (found,) = figures.finetunings([audit.runs[0], tuned(audit.runs[0], epochs=epochs)])
    assert found["rows"] == [["0", "", "0.5", "0.8"], ["1", "0.4", "0.3", "0.9"]]
    assert found["loss"].count("<polyline") == 2
    assert 'class="mark k0"' in found["accuracy"]


@pytest.mark.parametrize(
    "epochs", [None, "x", [1], [{"epoch": "<b>"}], [{"epoch": 1, "val_loss": [1]}],
               [{"epoch": 1, "val_loss": 1e300}], [{"epoch": 1, "val_loss": 10**400}], []],
)  # fmt: skip
def test_what_a_foreign_run_says_of_its_epochs_is_checked(audit, epochs):
    for found in figures.finetunings([tuned(audit.runs[0], epochs=epochs, verdict="<script>")]):
        assert found["loss"] == ""


def test_provenance_names_fingerprint_and_versions(audit):
    run = audit.runs[0]
    told = dict(figures.provenance(run, {"a.png": "relabel", "b.png": "keep", "c.png": "keep"}))
    assert told["by tlx relabel"] == "1 corrected, 2 kept"
    assert "by tlx relabel" not in dict(figures.provenance(run, {}))
    assert told["fingerprint"] == run.info.sources[0]["fingerprint"]
    assert {"numpy", "tlx", "report by tlx"} <= told.keys()


def test_the_commands_make_features_and_run_again(studio):
    run = tlx.load_run("lda-1", studio / ".tlx")
    manifest = Workspace(studio / ".tlx").load_manifest("data")
    embed, fit = figures.commands(run, manifest, [])
    assert shlex.split(embed)[:2] == ["tlx", "embed"]
    assert fit == "tlx fit-head --model lda --dataset data"
    without = tuned(replace(run, info=replace(run.info, recipe=None)))
    assert figures.commands(without, manifest, [])[1:] == ["tlx finetune lda-1"]
    grouped = replace(run.info, near_duplicates=ToldDuplicates("group", 0))
    fit = figures.commands(replace(run, info=grouped), manifest, [])[1]
    assert fit.endswith("--near-duplicates group")
    elsewhere = replace(manifest, root="my photos", validation_fraction=0.2, split_seed=3)
    assert figures.commands(None, elsewhere, run.info.sources) == [
        embed.replace(shlex.quote(manifest.root), "'my photos'")
        + " --validation-fraction 0.2 --seed 3"
    ]
