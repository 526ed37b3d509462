"""The tree of errors, and which names an unknown one may stand for."""

from __future__ import annotations

import pytest

from tlx.errors import DataError, StorageError, TlxError, UnknownNameError

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


def test_each_is_also_the_builtin_it_resembles():
    assert isinstance(UnknownNameError("x"), LookupError)
    assert isinstance(DataError("x"), ValueError)
    assert isinstance(StorageError("x"), OSError)


def test_text_is_cause_and_remedy():
    assert str(TlxError("it is so.", "Do this.")) == "it is so.\nDo this."
    assert str(TlxError("it is so.")) == "it is so."
