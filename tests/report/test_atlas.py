import re

import numpy as np

from tlx.classify.findings.finding import Finding, Flagged
from tlx.report.album import Album
from tlx.report.atlas import Points
from tlx.report.judged import Judged


def dots(atlas):
    return re.findall(r'<circle class="([^"]+)".*?data-i="(\d+)"', atlas.dots)


def test_each_image_is_a_dot_of_its_class(audit):
    album, table = Album(audit.evidence.manifest), audit.evidence.table
    judged = Judged(audit.runs[0])
    atlas = Points(table, (), judged, album, 0).draw()
    assert (atlas.points, atlas.images, atlas.judged) == (len(table), len(table), True)
    assert [name for _, name in atlas.classes] == list(table.class_names)
    for names, number in dots(atlas):
        path = album.paths[int(number)]
        label = table.class_names[table.y[table.paths.index(path)]]
        assert dict(atlas.classes)[names.split()[0]] == label
    wrong = {album.paths[int(number)] for names, number in dots(atlas) if "wrong" in names}
    assert wrong == {judged.scored.path[row] for row in judged.wrong}


def test_weak_slices_have_colours(audit):
    images = (Flagged("amber/0001.png", "amber"),)
    slices = [Finding("TLX403", "weak-slice", "note", "Dark ones.", "Look.", images=images)]
    atlas = Points(audit.evidence.table, slices, None, Album(audit.evidence.manifest), 0).draw()
    assert atlas.slices == [("s0", "Dark ones.")]
    assert not atlas.judged
    assert sum("s0" in names.split() for names, _ in dots(atlas)) == 1
    assert all("unseen" in names for names, _ in dots(atlas))


def test_of_many_classes_the_hardest_have_colours(audit):
    table = audit.evidence.table
    rng = np.random.default_rng(0)
    many = type(table)(
        rng.normal(size=(40, 6)).astype(np.float32), np.repeat(np.arange(20), 2),
        table.split[:40], table.groups[:40], table.digest[:40], table.paths[:40],
        tuple(f"class {c}" for c in range(20)), "many", "/nowhere", table.sources,
    )  # fmt: skip
    atlas = Points(many, (), None, Album(audit.evidence.manifest), 0).draw()
    assert len(atlas.classes) == 8
    assert atlas.classes[-1] == ("other", "13 other classes")
