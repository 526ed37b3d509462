"""What is known of pictures before and after they are measured."""

import numpy as np

from tlx.cache.pictures import PICTURE, measured, unmeasured


def test_nothing_is_known_of_a_picture_that_is_not_measured():
    (blank,) = unmeasured(1)
    for name in PICTURE.names:
        value = blank[name]
        assert np.isnan(value) if PICTURE[name].kind == "f" else not np.any(value), name


def test_a_picture_with_a_brightness_is_measured():
    pictures = unmeasured(3)
    pictures["brightness"][1] = 0.0
    assert measured(pictures).tolist() == [False, True, False]
