"""What a family of backbones tells the registry of itself, and what it makes: a backbone."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

from ...errors import TlxError
from ...lazy_imports import import_keras

if TYPE_CHECKING:
    import keras


@dataclass(frozen=True)
class Backbone:
    """A pre-trained network, known by name and not yet built.

    Parameters
    ----------
    name : str
        Canonical name; `get_backbone` takes it back.
    image_size : int
        Default height and width of the input, in pixels.
    weights_digest : str
        SHA-256 of the weights file in hexadecimal, or ``"random:0"``.
    preprocessing : str
        What the network does to pixels of 0 to 255, as a spec names it.
    weights : str, default="imagenet"
        The weights as asked for; with `name` it rebuilds this object in another process.
    builder : callable
        Builds the network for an image size; `build` calls it.
    """

    name: str
    image_size: int
    weights_digest: str
    preprocessing: str
    weights: str = "imagenet"
    builder: Callable[[int], Any] = field(kw_only=True, repr=False, compare=False)

    def build(self, image_size: int) -> keras.Model:
        """Return the network without its classifier, preprocessing inside.

        Parameters
        ----------
        image_size : int
            Height and width of the input, in pixels.

        Returns
        -------
        keras.Model
            (B, image_size, image_size, 3) RGB of 0 to 255, float or uint8, to the last feature
            map.

        Raises
        ------
        TlxError
            If the network cannot take images of this size.
        WeightsError
            If the weights do not fit the network.
        """
        import_keras()
        try:
            return self.builder(image_size)
        except TlxError:
            raise
        except ValueError as error:
            raise TlxError(
                f"{self.name} cannot be built for images of {image_size} pixels: {error}",
                f"Its own size is {self.image_size}: --image-size {self.image_size}",
            ) from error


class BackboneRow(NamedTuple):
    """What `tlx backbones` says of one backbone.

    Parameters
    ----------
    name : str
        As `get_backbone` takes it.
    image_size : int
        Pixels it was trained at.
    dim : int
        Length of an embedding.
    parameters : int
        Weights without the classifier.
    weights : str
        ``"ready"`` if its ImageNet weights are on this machine, otherwise how to get them.
    """

    name: str
    image_size: int
    dim: int
    parameters: int
    weights: str


@dataclass(frozen=True)
class Family:
    """Backbones that are found in one way: the ``FAMILY`` of a file beside this one.

    Parameters
    ----------
    find : callable
        ``find(name, weights)`` gives a `Backbone`, without building it and, where that can be,
        without importing Keras; or None if the name is none of the family's.
    rows : callable, optional
        Gives the rows of those that have a name of their own, without importing Keras.
    scheme : str, default=""
        The family takes ``scheme:…``, and `find` gets what follows the colon. Without a scheme it
        is asked for every name that has none.
    form : str, default=""
        What is typed for a backbone that has no row, such as ``"keras:FILE"``.
    help : str, default=""
        What `form` stands for.
    order : int, default=0
        Families of a lower one are listed first, and asked first.
    """

    find: Callable[[str, str], Backbone | None]
    rows: Callable[[], list[BackboneRow]] = list
    scheme: str = ""
    form: str = ""
    help: str = ""
    order: int = 0


def same_name(a: str, b: str) -> bool:
    """Return whether two names differ in case, dashes and underscores at most.

    Examples
    --------
    >>> same_name("VGG-16", "vgg16")
    True
    """
    return squeeze(a) == squeeze(b)


def squeeze(name: str) -> str:
    """Return a name in lower case, without dashes and underscores.

    Examples
    --------
    >>> squeeze("MobileNet_V2")
    'mobilenetv2'
    """
    return name.lower().replace("-", "").replace("_", "")
