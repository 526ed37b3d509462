"""The catalogue of Keras's networks, against the Keras that is installed."""

from __future__ import annotations

import pytest

from tlx.embed.backbones import keras_applications
from tlx.embed.backbones.keras_catalogue import APPLICATIONS

# Keras 3.15 reads TensorFlow's variables in a way that NumPy 2.4 deprecates.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")


def test_catalogue_has_every_constructor_of_the_installed_keras():
    found = keras_applications.discover()
    assert found == {name: row.constructor for name, row in APPLICATIONS.items()}


@pytest.mark.parametrize("name", ["mobilenetv3small", "vgg16"])
def test_a_row_is_what_the_constructor_shows(name):
    assert keras_applications.describe(APPLICATIONS[name].constructor) == APPLICATIONS[name]
