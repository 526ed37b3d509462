import numpy as np
import pytest
from PIL import Image

from tlx.classify import cosine
from tlx.classify.near import compare_pictures, find_near_pairs


def found(X, thumbs, measured=True):
    pairs = find_near_pairs(X, thumbs, np.full(len(X), measured))
    return set(zip(pairs.first.tolist(), pairs.second.tolist(), strict=True))


@pytest.fixture
def pictures(draw_thumbs):
    """100 images of nothing in common: embeddings and small pictures."""
    rng = np.random.default_rng(1)
    return rng.normal(size=(100, 32)).astype(np.float32), draw_thumbs(100)


def resized(picture, box):
    image = Image.fromarray(picture).resize((160, 160), Image.Resampling.BICUBIC)
    return np.asarray(image.crop(box).resize((16, 16), Image.Resampling.BOX))


CHANGES = {
    "the same": lambda p: p,
    "mirrored": lambda p: p[:, ::-1],
    "darker": lambda p: (0.6 * p).astype(np.uint8),
    "less contrast": lambda p: (0.5 * p + 60).astype(np.uint8),
    "cropped at one corner": lambda p: resized(p, (8, 8, 160, 160)),
    "cropped all round": lambda p: resized(p, (8, 8, 152, 152)),
    "with a border": lambda p: resized(p, (-8, -8, 168, 168)),
    "noisy": lambda p: np.clip(p + np.random.default_rng(0).normal(0, 8, p.shape), 0, 255),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_changed_picture_is_a_near_duplicate_of_what_it_was_made_of(pictures, change):
    X, thumbs = pictures
    X[70] = X[30] + np.random.default_rng(2).normal(0, 0.3, 32)
    thumbs[70] = CHANGES[change](thumbs[30])
    assert found(X, thumbs) == {(30, 70)}


def test_like_pictures_are_enough_where_embeddings_went_apart(pictures):
    X, thumbs = pictures
    thumbs[70] = thumbs[30]
    assert found(X, thumbs) == {(30, 70)}


def test_like_embeddings_of_different_pictures_are_no_near_duplicates(pictures):
    X, thumbs = pictures
    X[70] = X[30]
    assert found(X, thumbs) == set()


def test_pictures_that_are_all_alike_are_not_near_duplicates(draw_thumbs):
    rng = np.random.default_rng(0)
    thumbs = np.clip(draw_thumbs(1)[0] + rng.normal(25, 8, (300, 16, 16)), 0, 255)
    X = rng.normal(size=(300, 16)).astype(np.float32)
    thumbs[200] = thumbs[100]
    agree = compare_pictures(thumbs.astype(np.uint8), np.arange(99), np.arange(1, 100))
    assert agree.min() > 0.75  # what would be the same among photos
    pairs = found(X, thumbs.astype(np.uint8))
    assert (100, 200) in pairs
    assert len(pairs) <= 5  # of 44,850


def test_copies_are_told_where_some_pictures_are_far_more_alike_than_others(draw_thumbs):
    """As digits are: the embeddings' neighbours say little of how far pictures ever agree."""
    rng = np.random.default_rng(0)
    kinds = np.repeat(draw_thumbs(4), 75, axis=0)[rng.permutation(300)]
    noise = rng.normal(0, rng.uniform(8, 25, (300, 1, 1)), kinds.shape)
    thumbs = np.clip(kinds + 25 + noise, 0, 255)
    thumbs[:20] = np.clip(thumbs[20:40] + rng.normal(0, 2, (20, 16, 16)), 0, 255)
    pairs = found(rng.normal(size=(300, 16)).astype(np.float32), thumbs.astype(np.uint8))
    planted = {(row, row + 20) for row in range(20)}
    assert len(pairs & planted) >= 18
    assert len(pairs - planted) <= 1


def test_without_pictures_embeddings_have_to_be_much_closer(pictures):
    X, thumbs = pictures
    rng = np.random.default_rng(2)
    X[70], X[71] = X[30] + rng.normal(0, 0.05, 32), X[31] + rng.normal(0, 0.6, 32)
    assert found(X, thumbs, measured=False) == {(30, 70)}
    pairs = find_near_pairs(X, thumbs, np.arange(100) > 90)
    assert not pairs.by_picture


def test_pictures_without_content_are_near_duplicates_of_none(pictures):
    X, thumbs = pictures
    thumbs[10:20] = 128
    X[10:20] = X[10]
    assert found(X, thumbs) == set()


@pytest.mark.parametrize("n", [0, 1, 2, 3, 4])
def test_few_images_are_no_error(pictures, n):
    X, thumbs = pictures
    assert found(X[:n], thumbs[:n]) == set()


def test_many_candidates_are_bounded(draw_thumbs):
    """A thousand copies of one image: the pairs looked at are some an image, not all of them."""
    X = np.zeros((1000, 8), np.float32)
    X[:, 0] = 1
    X += np.random.default_rng(0).normal(0, 1e-3, X.shape)
    thumbs = np.repeat(draw_thumbs(1), 1000, axis=0)
    assert len(find_near_pairs(X, thumbs, np.ones(1000, bool))) <= 2 * 16 * 1000


def test_copies_among_many_images_are_found_as_among_few(pictures, monkeypatch):
    X, thumbs = pictures
    X[70], thumbs[70] = X[30], thumbs[30, :, ::-1]
    few = found(X, thumbs)
    monkeypatch.setattr(cosine, "MANY", 50)
    assert found(X, thumbs) == few == {(30, 70)}
