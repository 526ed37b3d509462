"""The tree of errors, and which names an unknown one may stand for."""

from __future__ import annotations

import pickle

import pytest

from tlx import errors
from tlx.errors import MissingExtraError, TlxError, UnknownNameError

TREE = [
    kind
    for kind in vars(errors).values()
    if isinstance(kind, type) and issubclass(kind, TlxError) and kind is not TlxError
]

BACKBONES = ["efficientnet-lite0", "resnet101", "resnet50", "resnet50v2", "vgg16", "vgg19"]
HEADS = ["centroid", "dense", "knn", "lda", "logreg", "ridge", "svm"]


@pytest.mark.parametrize(
    ("name", "known", "first"),
    [
        ("resnet", BACKBONES, "resnet50"),
        ("ResNet-50", BACKBONES, "resnet50"),
        ("VGG", BACKBONES, "vgg16"),
        ("effnet", BACKBONES, "efficientnet-lite0"),
        ("val", ["test", "train", "validation"], "validation"),
        ("dev", ["test", "train", "validation"], "validation"),
        ("training", ["test", "train", "validation"], "train"),
        ("logistic", HEADS, "logreg"),
        ("LogisticRegression", HEADS, "logreg"),
        ("KNeighborsClassifier", HEADS, "knn"),
        ("mlp", HEADS, "dense"),
        ("lgreg", HEADS, "logreg"),
        ("auc", ["accuracy", "roc_auc"], "roc_auc"),
        ("photo", ["holiday", "photos"], "photos"),
    ],
)
def test_the_nearest_name_comes_first(name, known, first):
    remedy = UnknownNameError.nearest("name", name, known).remedy
    assert remedy.startswith(f"Did you mean {first}")


def test_names_that_nothing_is_like_are_listed():
    error = UnknownNameError.nearest("model", "???", HEADS)
    assert error.cause == "unknown model: '???'."
    assert error.remedy == "There is centroid, dense, knn, lda, logreg, ridge, svm."


def test_no_names_at_all():
    assert UnknownNameError.nearest("run", "x", []).remedy == "There is no run yet."


@pytest.mark.parametrize("kind", TREE, ids=lambda kind: kind.__name__)
def test_each_is_the_builtin_it_resembles_too_and_stands_in_the_drawing(kind):
    (builtin,) = [base for base in kind.__bases__ if base.__module__ == "builtins"]
    drawn = [line.split() for line in (errors.__doc__ or "").splitlines() if "──" in line]
    assert [kind.__name__, f"({builtin.__name__})"] in [line[1:3] for line in drawn]


@pytest.mark.parametrize("kind", [TlxError, *TREE], ids=lambda kind: kind.__name__)
def test_an_error_survives_the_way_between_processes(kind):
    sent = pickle.loads(pickle.dumps(kind("cause", "remedy")))
    assert (type(sent), sent.cause, sent.remedy) == (kind, "cause", "remedy")


def test_a_missing_extra_names_the_command_that_installs_it():
    error = MissingExtraError.of("matplotlib", "plot")
    assert error.remedy == "Run: pip install 'tlx-vision[plot]'"


def test_text_is_cause_and_remedy():
    assert str(TlxError("it is so.", "Do this.")) == "it is so.\nDo this."
    assert str(TlxError("it is so.")) == "it is so."


def test_what_is_no_name_at_all_is_told_as_well():
    error = UnknownNameError.nearest("handling", True, ["ignore", "group"])
    assert (error.cause, error.remedy) == ("unknown handling: True.", "There is group, ignore.")
