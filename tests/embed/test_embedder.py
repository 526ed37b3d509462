"""The scikit-learn transformer from images to features."""

from __future__ import annotations

import io
import pickle
import warnings
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from sklearn.base import clone
from sklearn.exceptions import SkipTestWarning
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.utils import estimator_checks

import tlx
from tlx.errors import DataError, ImageError, UnknownNameError, WeightsError


@pytest.fixture
def photos(tmp_path, class_folders):
    """Return the paths and labels of a few images in two classes."""
    folder = class_folders(tmp_path / "photos", {"blue": 4, "red": 4})
    return [str(p) for p in sorted(folder.glob("*/*.png"))], ["blue"] * 4 + ["red"] * 4


@pytest.fixture
def embedder(grid):
    """Return an embedder with a light engine, which keeps nothing."""
    return tlx.ImageEmbedder(engine=grid)


def jpeg(size, **options) -> bytes:
    rng = np.random.default_rng(0)
    coarse = Image.fromarray(rng.integers(0, 256, (9, 12, 3), np.uint8))
    buffer = io.BytesIO()
    coarse.resize(size, Image.Resampling.BICUBIC).save(buffer, "JPEG", quality=90, **options)
    return buffer.getvalue()


# What counts as an image


def test_paths_give_a_row_each(embedder, photos):
    X = embedder.fit_transform(photos[0])
    assert X.shape == (8, 48)
    assert X.dtype == np.float32


def test_pillow_arrays_and_bytes_of_a_file_have_the_features_of_its_path(embedder, photos):
    paths = photos[0]
    opened = [Image.open(path) for path in paths]
    expected = embedder.transform(paths)
    np.testing.assert_array_equal(embedder.transform(opened), expected)
    np.testing.assert_array_equal(embedder.transform([np.asarray(i) for i in opened]), expected)
    held = [Path(path).read_bytes() for path in paths]
    np.testing.assert_array_equal(embedder.transform(held), expected)


def test_one_array_of_many_images(embedder, photos):
    arrays = [np.asarray(Image.open(path)) for path in photos[0]]
    np.testing.assert_array_equal(embedder.transform(np.stack(arrays)), embedder.transform(arrays))


def test_one_path_or_picture_is_one_image(embedder, photos):
    assert embedder.transform(photos[0][0]).shape == (1, 48)
    assert embedder.transform(Image.open(photos[0][0])).shape == (1, 48)


def test_arrays_of_different_sizes(embedder):
    sizes = [(20, 30, 3), (50, 10, 3), (7, 7)]
    assert embedder.transform([np.zeros(size, np.uint8) for size in sizes]).shape == (3, 48)


@pytest.mark.parametrize("mode", ["L", "LA", "RGBA", "P", "1", "CMYK", "I;16", "F"])
def test_modes_are_read_as_the_decoder_reads_them(embedder, tmp_path, mode):
    rng = np.random.default_rng(0)
    image = Image.fromarray(rng.integers(0, 256, (40, 30, 4), np.uint8), "RGBA")
    image = image.convert("RGB" if mode == "CMYK" else "L" if mode in ("I;16", "F") else "RGBA")
    image = image.convert("RGB") if mode == "P" else image
    image = image.convert({"I;16": "I"}.get(mode, mode))
    if mode == "I;16":
        image = Image.fromarray((np.asarray(image) * 257).astype(np.uint16))
    path = tmp_path / "image.tif"
    image.save(path)
    np.testing.assert_array_equal(embedder.transform([image]), embedder.transform([path]))


def test_grey_and_transparent_arrays(embedder):
    grey = np.random.default_rng(0).integers(0, 256, (20, 20), np.uint8)
    rgb = np.stack([grey] * 3, axis=-1)
    opaque = np.dstack([rgb, np.full((20, 20), 255, np.uint8)])
    clear = np.dstack([rgb, np.zeros((20, 20), np.uint8)])
    X = embedder.transform([grey, grey[..., None], rgb, opaque, clear])
    np.testing.assert_array_equal(X[1:4], X[[0, 0, 0]])
    np.testing.assert_array_equal(X[4], 1)  # white


@pytest.mark.parametrize("orientation", range(1, 9))
def test_pillow_pictures_are_turned_as_their_exif_data_says(embedder, tmp_path, orientation):
    tags = Image.Exif()
    tags[274] = orientation
    path = tmp_path / "photo.jpg"
    path.write_bytes(jpeg((300, 200), exif=tags))
    np.testing.assert_array_equal(
        embedder.transform([Image.open(path)]), embedder.transform([path])
    )


def test_a_large_jpeg_is_decoded_smaller_from_its_path_only(embedder, tmp_path):
    path = tmp_path / "photo.jpg"
    path.write_bytes(jpeg((1600, 1200)))
    opened, named = embedder.transform([Image.open(path), path])
    assert 0 < np.abs(opened - named).max() < 0.02


@pytest.mark.parametrize(
    ("X", "told"),
    [
        ([], "there are no images"),
        (3, "a int holds no images"),
        ([1, 2], "image 0 is of type int"),
        (np.zeros((2, 8, 8, 3)), "pixels must be uint8"),
        ([np.zeros((8, 8, 3))], "image 0 is an array of float64"),
        (np.zeros((8, 8, 3), np.uint8), r"one image, or 8 very narrow ones"),
        (np.zeros((0, 8, 8, 3), np.uint8), "holds no images"),
        ([np.zeros((8, 8, 5), np.uint8)], "shape"),
        (np.zeros((2, 2), dtype=object), "a table of 2 columns"),
    ],
)
def test_what_holds_no_images_is_refused_by_fit_and_transform(embedder, X, told):
    with pytest.raises(DataError, match=told):
        embedder.fit(X)
    with pytest.raises(DataError, match=told):
        embedder.transform(X)


def test_unreadable_images_are_named(embedder, photos, tmp_path):
    bad = tmp_path / "bad.jpg"
    bad.write_bytes(jpeg((64, 64))[:900])
    missing = tmp_path / "missing.png"
    with Image.open(bad) as damaged, pytest.raises(ImageError) as caught:
        embedder.transform([photos[0][0], bad, missing, damaged, bad])
    told = str(caught.value)
    assert "4 of 5 images cannot be read" in told
    assert f"'{bad}': truncated JPEG; '{missing}': no such file" in told
    assert "image 3: it cannot be loaded: " in told


# The cache


def test_features_in_the_workspace_are_not_computed_again(grid, photos, tmp_path):
    paths = photos[0]
    embedder = tlx.ImageEmbedder(workspace=tmp_path / "ws", engine=grid)
    first = embedder.fit_transform(paths)
    assert grid.seen == 8
    np.testing.assert_array_equal(clone(embedder).transform(paths[::-1]), first[::-1])
    assert grid.seen == 8


def test_pictures_and_arrays_are_cached_by_their_pixels(grid, photos, tmp_path):
    embedder = tlx.ImageEmbedder(workspace=tmp_path / "ws", engine=grid)
    opened = [Image.open(path) for path in photos[0]]
    first = embedder.transform(opened)
    np.testing.assert_array_equal(embedder.transform([np.asarray(i) for i in opened]), first)
    assert grid.seen == 8
    changed = np.asarray(opened[0]).copy()
    changed[0, 0, 0] ^= 1
    embedder.transform([changed])
    assert grid.seen == 9


def test_the_cache_is_that_of_embed_images(grid, photos, tmp_path):
    tlx.embed_images(tmp_path / "photos", workspace=tmp_path / "ws", engine=grid)
    X = tlx.ImageEmbedder(workspace=tmp_path / "ws", engine=grid).transform(photos[0])
    assert grid.seen == 8
    np.testing.assert_array_equal(X, tlx.ImageEmbedder(engine=grid).transform(photos[0]))


def test_copies_are_computed_once(embedder, photos, grid):
    X = embedder.transform([photos[0][0], photos[0][1], photos[0][0]])
    assert grid.seen == 2
    np.testing.assert_array_equal(X[0], X[2])


def test_new_and_cached_images_come_out_in_order(grid, photos, tmp_path):
    embedder = tlx.ImageEmbedder(workspace=tmp_path / "ws", engine=grid)
    embedder.transform(photos[0][::2])
    expected = tlx.ImageEmbedder(engine=grid).transform(photos[0])
    np.testing.assert_array_equal(embedder.transform(photos[0]), expected)


def test_what_could_be_read_is_kept(grid, photos, tmp_path):
    embedder = tlx.ImageEmbedder(workspace=tmp_path / "ws", engine=grid)
    with pytest.raises(ImageError):
        embedder.transform([*photos[0], "missing.png"])
    embedder.transform(photos[0])
    assert grid.seen == 8


# A scikit-learn estimator


def test_check_estimator():
    """Of scikit-learn's checks those apply that bring no numbers of their own to `fit`.

    All others embed random tables (N, D) of floats, which are no images; scikit-learn leaves them
    out itself, by the tag that says so.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", SkipTestWarning)
        estimator_checks.check_estimator(tlx.ImageEmbedder())
    for check in (
        estimator_checks.check_estimator_cloneable,
        estimator_checks.check_estimator_repr,
        estimator_checks.check_estimator_tags_renamed,
        estimator_checks.check_valid_tag_types,
        estimator_checks.check_no_attributes_set_in_init,
        estimator_checks.check_do_not_raise_errors_in_init_or_set_params,
        estimator_checks.check_parameters_default_constructible,
        estimator_checks.check_get_params_invariance,
        estimator_checks.check_set_params,
        estimator_checks.check_mixin_order,
    ):
        check("ImageEmbedder", tlx.ImageEmbedder())


def test_clone_and_pickle_keep_the_parameters():
    embedder = tlx.ImageEmbedder("mobilenetv2", weights="none", pooling="max", workspace="ws")
    assert clone(embedder).get_params() == embedder.get_params()
    assert pickle.loads(pickle.dumps(embedder)).get_params() == embedder.get_params()


def test_fit_checks_the_parameters_and_loads_nothing(photos):
    def open_engine(*_):
        raise AssertionError("the engine was used")

    embedder = tlx.ImageEmbedder(engine=open_engine).fit(photos[0])
    assert embedder.spec_.backbone == "efficientnet-lite0"
    for wrong in (
        {"pooling": "mean"},
        {"resize": "stretch"},
        {"interpolation": "cubic"},
        {"precision": "float16"},
    ):
        with pytest.raises(UnknownNameError):
            tlx.ImageEmbedder(**wrong).fit(photos[0])
    with pytest.raises(DataError, match="pooling 'none' gives maps"):
        tlx.ImageEmbedder(pooling="none").fit(photos[0])


def test_other_weights_than_those_of_the_fit_are_refused(grid, photos):
    embedder = tlx.ImageEmbedder(engine=grid).fit(photos[0])
    embedder.weights = "none"
    with pytest.raises(WeightsError, match="not those that the embedder was fitted with"):
        embedder.transform(photos[0])


def test_in_a_pipeline(embedder, photos):
    model = make_pipeline(embedder, LogisticRegression()).fit(*photos)
    assert model.score(*photos) == 1
    assert list(model[:-1].get_feature_names_out()[:2]) == ["imageembedder0", "imageembedder1"]


def test_names_of_columns_need_no_engine_where_features_are_cached(photos, tmp_path, grid):
    tlx.ImageEmbedder(workspace=tmp_path, engine=grid).transform(photos[0])
    cached = tlx.ImageEmbedder(workspace=tmp_path, engine=object())
    assert len(cached.get_feature_names_out()) == 48


def test_pandas_comes_in_and_out(embedder, photos):
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame({"path": photos[0]}, index=range(10, 18))
    X = embedder.set_output(transform="pandas").fit_transform(frame["path"])
    assert X.columns[0] == "imageembedder0"
    assert list(X.index) == list(frame.index)
    np.testing.assert_array_equal(X, embedder.transform(frame[["path"]]))


@pytest.mark.slow
def test_search_in_processes_with_the_network_and_the_features_of_the_command(
    tlx, python, tmp_path, class_folders
):
    """`tlx embed` and the embedder agree bit for bit; a search with two processes runs on both."""
    class_folders(tmp_path / "photos", {"blue": 6, "red": 6})
    tlx("embed", "photos")
    python(
        """
import pathlib, pickle, warnings
import numpy as np
import tlx
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline

paths = sorted(map(str, pathlib.Path("photos").glob("*/*.png")))
y = [path.split("/")[-2] for path in paths]
cached = tlx.ImageEmbedder(workspace=".tlx").fit(paths)
computed = tlx.ImageEmbedder().transform(paths)
np.testing.assert_array_equal(cached.transform(paths), computed)
again = pickle.loads(pickle.dumps(cached))
np.testing.assert_array_equal(again.transform(paths), computed)
with warnings.catch_warnings():
    warnings.simplefilter("error")
    model = make_pipeline(cached, LogisticRegression())
    search = GridSearchCV(model, {"logisticregression__C": [0.1, 1]}, cv=2, n_jobs=2)
    assert search.fit(paths, y).best_score_ == 1
""",
        cwd=tmp_path,
    )


def test_scikit_learn_is_imported_for_the_embedder_only(python):
    shown = python("import sys, tlx; tlx.embed_images; print('sklearn' in sys.modules)")
    assert shown == "False\n"
