"""What is known of the networks of `keras.applications` without importing Keras."""

from __future__ import annotations

from tlx.embed.backbones.keras_catalogue import APPLICATIONS


def test_each_application_says_what_a_list_needs():
    for name, row in APPLICATIONS.items():
        assert name == row.constructor.lower()
        assert row.image_size > 0
        assert row.dim > 0
        assert row.parameters > 0
        assert row.weights_file.endswith(".h5")
