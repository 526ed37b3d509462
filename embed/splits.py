"""The split that tlx itself makes: by a hash of each image, so that it never moves."""

from __future__ import annotations

import os
from hashlib import sha256

import numpy as np

from ..cache.groups import group_images
from ..cache.manifest import Manifest
from ..errors import DataError


def split_by_digest(manifest: Manifest, fraction: float, seed: int = 0) -> None:
    """Give each labelled image to "train" or "validation" by a hash of its digest alone.

    An image's side depends on nothing but its own bytes (or its group) and the seed: adding or
    removing others moves none across, and copies stay together. (Only an image that ties two
    groups together, a copy of one patient's photo filed under another, can move one of them.) Every
    class is cut at the same fraction of the hash's range, so each comes out near it; an exact share
    would need to move images when the class grows. The manifest remembers fraction and seed.

    Parameters
    ----------
    manifest : Manifest
        Changed in place.
    fraction : float
        Share of validation, above 0 and below 1.
    seed : int, default=0
        Another seed, another split.

    Raises
    ------
    DataError
        If the data set brings a validation split of its own, or a class would have no image on one
        side.
    """
    check_fraction(manifest, fraction)
    split = _sides(manifest, fraction, seed)
    if one_sided := _one_sided(manifest, split):
        raise DataError(
            f"with a validation fraction of {fraction} class {one_sided[0]!r} has images on one "
            "side only.",
            "Leave out --validation-fraction (cross-validation is then used), or try another "
            "--seed.",
        )
    manifest.split = split
    manifest.validation_fraction, manifest.split_seed = fraction, seed


def check_fraction(manifest: Manifest, fraction: float) -> None:
    """Raise if `split_by_digest` could not split `manifest` at `fraction`, whatever its digests.

    Raises
    ------
    DataError
        If the fraction is out of range, or the data set has a validation split of its own.
    """
    if not 0 < fraction < 1:
        raise DataError(
            f"validation fraction {fraction} is not between 0 and 1.",
            "Try 0.2; 0 removes the split that an earlier command made.",
        )
    if "validation" in manifest.split:
        raise DataError(
            "the data set has a validation split of its own.", "Leave out --validation-fraction."
        )


def keep_split(manifest: Manifest, previous: Manifest) -> list[str]:
    """Split a new look at a data set as `previous` was split, and return what is to be told.

    Images that are new fall to their side by the same hash, fraction and seed. A split that comes
    with the folders goes before one that tlx made.

    Parameters
    ----------
    manifest : Manifest
        As `tlx.embed.dataset.scan` made it, with the digests known so far. Changed in place.
    previous : Manifest
    """
    fraction = previous.validation_fraction
    if fraction == 0:
        return []
    if "validation" in manifest.split:
        if fraction is None:  # an older tlx did not note that it was theirs
            return []
        return ["the folders have a validation split now; it takes the place of the earlier one"]
    manifest.validation_fraction, manifest.split_seed = fraction, previous.split_seed
    if fraction is None:
        return _keep_sides(manifest, previous)
    manifest.split = _sides(manifest, fraction, previous.split_seed)
    return [
        f"class {name!r} has images on one side of the split only; --validation-fraction with "
        "another share or --seed makes another, 0 removes it"
        for name in _one_sided(manifest, manifest.split)
    ]


def _sides(manifest: Manifest, fraction: float, seed: int) -> list[str]:
    """Return the split at `fraction`; images without label or digest, and test ones, stay."""
    split, digests = list(manifest.split), manifest.digest_bytes()
    keys = _group_keys(manifest) if any(manifest.group) else {}
    rows = [
        row
        for row in np.flatnonzero(manifest.usable & (manifest.label >= 0)).tolist()
        if split[row] != "test"
    ]
    salt = b"%d:" % seed
    hashes = b"".join(sha256(salt + keys.get(row, digests[row])).digest() for row in rows)
    values = np.frombuffer(hashes, ">u8")[::4] / 2**64
    for row, held_out in zip(rows, (values < fraction).tolist(), strict=True):
        split[row] = "validation" if held_out else "train"
    return split


def _group_keys(manifest: Manifest) -> dict[int, bytes]:
    """Return the (least) name of the group of each image that is in a named one, by row."""
    groups = group_images(manifest).tolist()
    keys: dict[int, bytes] = {}
    for row, group in enumerate(groups):
        if name := os.fsencode(manifest.group[row]):
            keys[group] = min(name, keys.get(group, name))
    return {row: keys[group] for row, group in enumerate(groups) if group in keys}


def _keep_sides(manifest: Manifest, previous: Manifest) -> list[str]:
    """Keep a split whose fraction an older tlx did not note; new images are for training."""
    side = dict(zip(previous.digest_bytes(), previous.split, strict=True))
    rows = np.flatnonzero((manifest.label >= 0) & manifest.usable)
    digests, new = manifest.digest_bytes(), 0
    for row in rows:
        if manifest.split[row] != "test":
            new += digests[row] not in side
            manifest.split[row] = side.get(digests[row]) or "train"
    if not new:
        return []
    return [
        f"the split was made by an older tlx, which kept no fraction: {new} new images are for "
        "training; --validation-fraction 0.2 splits all images anew"
    ]


def _one_sided(manifest: Manifest, split: list[str]) -> list[str]:
    """Return the classes that have images on one side only."""
    usable = manifest.usable
    on = {side: usable & [one == side for one in split] for side in ("train", "validation")}
    counts = [
        np.bincount(
            manifest.label[rows & (manifest.label >= 0)], minlength=len(manifest.class_names)
        )
        for rows in on.values()
    ]
    one_sided = (counts[0] > 0) != (counts[1] > 0)
    return [name for name, alone in zip(manifest.class_names, one_sided, strict=True) if alone]
