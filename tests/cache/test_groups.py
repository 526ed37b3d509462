"""Which images are not independent of each other."""

from __future__ import annotations

import numpy as np
import pytest
from cache_helpers import manifest_of

from tlx.cache.groups import conflicting_copies, group_images


@pytest.mark.parametrize(
    ("numbers", "groups", "expected"),
    [
        ([0, 1, 2], ["", "", ""], [0, 1, 2]),
        ([0, 1, 0], ["", "", ""], [0, 1, 0]),  # the first and the last have the same bytes
        ([0, 1, 2], ["anna", "", "anna"], [0, 1, 0]),
        ([0, 1, 1, 2], ["anna", "anna", "ben", "ben"], [0, 0, 0, 0]),  # a copy ties two patients
        ([], [], []),
    ],
)
def test_same_bytes_or_same_group_directly_or_through_others(numbers, groups, expected):
    manifest = manifest_of(numbers)
    manifest.group = groups
    found = group_images(manifest).tolist()
    ranks = {group: rank for rank, group in enumerate(dict.fromkeys(found))}
    assert [ranks[group] for group in found] == expected


def test_an_image_of_no_group_is_not_of_the_group_without_a_name():
    manifest = manifest_of([0, 1])
    manifest.group = ["", ""]
    assert len(set(group_images(manifest).tolist())) == 2


def test_copies_of_different_classes_are_told_with_the_first_of_them():
    manifest = manifest_of([0, 1, 0, 0, 1])
    manifest.label = np.array([0, 1, 1, 0, -1], np.int32)
    assert conflicting_copies(manifest) == [(0, 2)]
