import numpy as np
import pytest

import tlx
from tlx.classify.audit import audit_run
from tlx.embed.pipeline import embed_images


@pytest.fixture
def planted(place, add_dataset, draw):
    """Return a function that adds a data set with some wrong labels; it returns these rows."""

    def plant(wrong, n=400, classes=3, split=None):
        X, true = draw(n, classes, dim=20, spread=0.8)
        y = true.copy()
        rows = np.random.default_rng(1).choice(n, wrong, replace=False)
        y[rows] = (y[rows] + 1) % classes
        add_dataset("zoo", X, y, split=split)
        return {place.load_manifest("zoo").path[row]: true[row] for row in rows}

    return plant


def found_in(place, **options):
    findings = audit_run(workspace=place, only="suspect-label", **options).findings
    return findings[0] if findings else None


def test_wrong_labels_are_found_with_the_right_one_before_there_is_a_run(place, planted):
    wrong = planted(20)
    finding = found_in(place)
    named = {image.path: image for image in finding.images}
    hits = wrong.keys() & named.keys()
    assert len(hits) >= 0.9 * len(wrong)
    assert len(hits) >= 0.8 * len(named)
    assert all(named[path].suggested == ("ant", "bee", "cat")[wrong[path]] for path in hits)
    scores = [image.score for image in finding.images]
    assert scores == sorted(scores, reverse=True)
    assert all(0.2 < score <= 1 for score in scores)
    assert finding.value == pytest.approx(sum(scores), abs=0.01)
    assert finding.severity == "grave"  # of 400 labels 20 are wrong


def test_near_duplicates_with_the_same_wrong_label_do_not_speak_for_each_other(
    place, add_dataset, draw
):
    X, y = draw(300, classes=3, dim=20, spread=0.5)
    copies = X[0] + np.random.default_rng(0).normal(0, 0.01, (12, 20))
    X = np.concatenate([X, copies]).astype(np.float32)
    add_dataset("zoo", X, np.concatenate([y, np.full(12, 1)]))  # of class 0
    named = {image.path for image in found_in(place).images}
    assert {f"bee/{i}.png" for i in range(300, 312)} <= named


def test_of_many_images_it_is_said_that_some_were_learned_from(place, planted, monkeypatch):
    wrong = planted(20)
    monkeypatch.setattr("tlx.classify.large.MEMORY", 1000)
    monkeypatch.setattr("tlx.classify.large.TALL", 0)
    monkeypatch.setattr("tlx.classify.large.SAMPLE", 200)
    finding = found_in(place)
    assert finding.title.endswith("all 400 labels after learning from about 200 of them.")
    assert len({image.path for image in finding.images} & wrong.keys()) >= 0.8 * len(wrong)


def test_without_wrong_labels_there_is_no_finding(place, planted):
    planted(0)
    assert found_in(place) is None


def test_several_runs_vote_and_images_that_they_learned_from_are_judged_too(place, planted):
    split = ["validation" if i % 4 == 0 else "train" for i in range(400)]
    wrong = planted(20, split=split)
    runs = [tlx.fit_head(model, workspace=place) for model in ("logreg", "lda")]
    named = {image.path for image in found_in(place, run=runs).images}
    assert len(wrong.keys() & named) >= 0.9 * len(wrong)
    one = {image.path: image.score for image in found_in(place, run=runs[0]).images}
    two = {image.path: image.score for image in found_in(place, run=runs).images}
    assert one != two


def test_of_one_class_there_is_nothing_to_suspect(place, add_dataset, draw):
    add_dataset("zoo", draw(20)[0], np.zeros(20, int))
    assert found_in(place) is None


def at_precision(score, wrong, precision=0.8):
    """Return how many wrong labels the best ranked images hold that are so many times right."""
    hits = np.cumsum(wrong[np.argsort(-score, kind="stable")])
    good = hits / np.arange(1, len(hits) + 1) >= precision
    return int(hits[good].max(initial=0))


def test_at_least_as_many_are_found_as_by_cleanlab_on_the_same_probabilities(draw):
    rank = pytest.importorskip("cleanlab.filter").find_label_issues
    from tlx.classify.scoring.label_noise import fit_label_noise

    for seed in range(5):
        X, true = draw(600, 3, dim=20, spread=1.2, seed=seed)
        y, rng = true.copy(), np.random.default_rng(seed)
        rows = rng.choice(600, 30, replace=False)
        y[rows] = (y[rows] + rng.integers(1, 3, 30)) % 3
        p = tlx.evaluate_features(X, y, model="logreg").probabilities
        order = rank(y, p, return_indices_ranked_by="self_confidence", n_jobs=1)
        theirs = np.zeros(600)
        theirs[order] = np.arange(len(order), 0, -1)
        ours = 1 - fit_label_noise(np.log(p), y).true_classes(np.log(p), y)[np.arange(600), y]
        assert at_precision(ours, y != true) >= at_precision(theirs, y != true)


@pytest.mark.slow
def test_of_photos_nine_in_ten_wrong_labels_are_found(shared_data, tmp_path):
    data = shared_data / "cats-vs-dogs" / "train"
    embedded = embed_images(data, workspace=tmp_path)
    table = tlx.load_features(embedded.dataset, workspace=tmp_path)
    from tlx.classify.findings.left_out import values_left_out
    from tlx.classify.scoring.label_noise import fit_label_noise

    found, named, planted = 0, 0, 0
    for seed in range(4):
        wrong = np.zeros(len(table), bool)
        wrong[np.random.default_rng(seed).choice(len(table), 50, replace=False)] = True
        y = np.where(wrong, 1 - table.y, table.y)
        values = values_left_out(table.X, y, table.groups)
        said = 1 - fit_label_noise(values, y).true_classes(values, y)[np.arange(len(y)), y]
        found, named = found + (wrong & (said > 0.2)).sum(), named + (said > 0.2).sum()
        planted += 50
    assert found >= 0.9 * planted
    assert found >= 0.8 * named
