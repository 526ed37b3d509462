"""Two thousand objects behind a network that fails: each image once, and the very same features."""

from __future__ import annotations

import zlib

import numpy as np
import pytest

import tlx

FAULTS = ("503", "500", "reset", "slow", "truncated")


@pytest.mark.slow
def test_faults_of_the_network_change_nothing(s3, embed, class_folders, tmp_path, make_grid):
    folder = class_folders(tmp_path / "many", {"cats": 1000, "dogs": 1000})
    names = {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*.png")}
    s3("many", names)
    changed = class_folders(tmp_path / "new", {"owls": 1}) / "owls/0000.png"

    def plan(method, path, n):
        kind = zlib.crc32(path.encode()) % 20
        return FAULTS[kind] if method == "GET" and kind < len(FAULTS) and n <= 2 else ""

    def change(method, path):
        if method == "GET" and path.endswith("cats/0500.png"):
            s3.client.put_object(Bucket="many", Key="cats/0500.png", Body=changed.read_bytes())

    s3.proxy.plan, s3.proxy.before = plan, change
    result = embed("s3://many")
    assert (result.images, result.unreadable) == (2000, [])
    (folder / "cats/0500.png").write_bytes(changed.read_bytes())
    tlx.embed_images(folder, workspace=tmp_path / "local", engine=make_grid())
    ours, theirs = (tlx.load_features(workspace=tmp_path / name) for name in ("ws", "local"))
    assert np.array_equal(ours.X, theirs.X)
    s3.proxy.reset()
    assert embed("s3://many").embedded == 0
    assert sum(s3.proxy.gets().values()) <= 1  # the one that changed, to be sure
