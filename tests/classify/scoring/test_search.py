"""How fits of many rows choose and learn, and that they say so."""

import numpy as np
import pytest

from tlx.classify import large
from tlx.classify.scoring import plan as plan_module
from tlx.classify.scoring import search as search_module
from tlx.classify.scoring.crossval import evaluate_head


@pytest.fixture
def many(make_table, draw, monkeypatch):
    """A function that makes a table of 900 images, which are many; samples have 200."""

    def make(split=True):
        X, y = draw(900, classes=3, spread=1.5)
        part = np.random.default_rng(0).permutation(900) % 3
        return make_table(
            X, y, split=np.array(["train", "train", "validation"])[part] if split else None
        )

    def start():
        monkeypatch.setattr(large, "MEMORY", 0)
        monkeypatch.setattr(large, "BLOCK", 100 * 8)
        monkeypatch.setattr(plan_module, "ONE_PART", 300)
        monkeypatch.setattr(search_module, "SAMPLE", 200)
        monkeypatch.setattr(search_module, "LEARNED", 250)

    return make, start


ONE = ", parameters chosen on one held-out part"
SAID = {
    "ridge": "",
    "lda": "",
    "centroid": "",
    "logreg": ", C chosen on a sample of 200 images",
    "svm": ", C chosen on a sample of 200 images",
    "vote": ", C chosen on a sample of 200 images",
    "knn": ", learned from a sample of 250 images",
}


@pytest.mark.parametrize("split", [True, False])
@pytest.mark.parametrize("head", SAID)
def test_many_images_give_about_what_few_give_and_the_protocol_says_how(head, split, many):
    make, start = many
    before = evaluate_head(make(split), head)
    start()
    now = evaluate_head(make(split), head)
    how = "validation split" if split else "nested 5-fold"
    assert now.protocol == how + ONE + SAID[head]
    assert np.array_equal(now.rows, before.rows)
    assert np.array_equal(now.fold, before.fold)
    assert abs(now.metrics["accuracy"].value - before.metrics["accuracy"].value) < 0.03
    assert abs(now.metrics["log_loss"].value - before.metrics["log_loss"].value) < 0.1


def test_fixed_parameters_are_no_choice_on_a_sample(many):
    make, start = many
    start()
    found = evaluate_head(make(), "logreg", C=0.01)
    assert found.protocol == "validation split"
    assert found.params["C"] == 0.01


def test_scored_rows_have_no_say(many, monkeypatch):
    """Other labels of validation images change neither the head nor what it takes."""
    make, start = many
    start()
    table = make()
    for head in ("logreg", "ridge", "knn"):
        found = evaluate_head(table, head)
        other = make()
        held = other.split == "validation"
        other.y[held] = other.y[held][::-1]
        again = evaluate_head(other, head)
        assert found.params == again.params
        raw = [
            e.head.scaled(e.temperature) if head != "knn" else e.head.head for e in (found, again)
        ]
        same = [one.predict_proba(table.X[:50]) for one in raw]
        assert np.allclose(*same, atol=1e-5)


@pytest.mark.parametrize("head", ["logreg", "knn"])
def test_where_all_are_learned_from_no_sample_is_told(head, many, monkeypatch):
    make, start = many
    start()
    monkeypatch.setattr(search_module, "SAMPLE", 1000)
    monkeypatch.setattr(search_module, "LEARNED", 1000)
    assert "sample" not in evaluate_head(make(), head).protocol
