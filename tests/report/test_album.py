import pytest

from tlx.report.album import Album


@pytest.fixture
def album(audit):
    return Album(audit.evidence.manifest, {"amber/wrong.png": "teal 0.99"})


def test_a_photo_is_in_it_once(album):
    first, second = album.add("amber/wrong.png"), album.add("amber/both.png")
    assert (first, second, album.add("amber/wrong.png")) == (0, 1, 0)
    assert album.paths == ["amber/wrong.png", "amber/both.png"]


def test_a_photo_has_its_label_digest_and_what_was_said(album, audit):
    photo = album.photos[album.add("amber/wrong.png")]
    row = audit.evidence.manifest.path.index("amber/wrong.png")
    assert (photo.label, photo.said) == ("amber", "teal 0.99")
    assert bytes.fromhex(photo.digest) == bytes(audit.evidence.manifest.digest[row])
    assert photo.as_list() == ["amber/wrong.png", "amber", photo.digest, "teal 0.99", ""]


def test_an_image_that_is_gone_from_the_data_set_has_a_name_alone(album):
    photo = album.photos[album.add("amber/gone.png")]
    assert (photo.path, photo.label, photo.digest, photo.file) == ("amber/gone.png", "", "", "")


def test_a_name_that_is_no_text_is_escaped(album):
    assert album.photos[album.add("caf\udce9.png")].path == r"caf\xe9.png"
