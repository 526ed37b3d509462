"""What a pass tells of itself."""

from __future__ import annotations


def test_a_pass_is_summed_up(embed, data):
    (data / "cats" / "bad.png").write_text("no picture")
    result = embed()
    assert repr(result).startswith(
        "<EmbedResult 'data': 12 images, 11 embedded, 0 reused, 1 unreadable; efficientnet-lite0"
    )
    assert result.splits == {}
    assert result.images_per_second > 0


def test_what_was_not_computed_names_no_engine(embed):
    assert embed().engine == "grid"
    again = embed()
    assert (again.engine, again.reused, again.images_per_second) == (None, 11, 0.0)
