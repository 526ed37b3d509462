"""Where a network can be cut in two: below, a frozen trunk; above, the top that is trained.

A cut is a tensor that every path from the input to the output goes through. Cutting anywhere else,
inside a residual block say, would let a second tensor cross, and the top could not be run from
what is cached at the cut.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from ..errors import FitError, UnknownNameError
from ..lazy_imports import import_keras

if TYPE_CHECKING:
    import keras

INPUT: Final = "input"  # name of the cut below which there is nothing
_POOLING: Final = ("pool_avg", "pool_max", "pool", "flatten")  # see embed.backbones.feature_model


@dataclass(frozen=True)
class Cut:
    """A place where exactly one tensor crosses.

    Attributes
    ----------
    name : str
        The layer whose output crosses; ``"input"`` if nothing is frozen.
    layers : int
        Layers above the cut, pooling not counted. A model within the model counts with its own.
    parameters : int
        Weights above the cut that training can change.
    shape : tuple of int
        Shape of what crosses, for one image.
    """

    name: str
    layers: int
    parameters: int
    shape: tuple[int, ...]


@dataclass(frozen=True)
class Choice:
    """The cut that a request came to.

    Attributes
    ----------
    requested : str
        As asked for: ``"20"``, ``"block15"``, ``"all"``.
    cut : Cut
    text : str
        One line for people: what was asked for, what it became, and why.
    """

    requested: str
    cut: Cut
    text: str


def find_cuts(model: keras.Model) -> list[Cut]:
    """Return every place where `model` can be cut, from its output towards its input.

    Parameters
    ----------
    model : keras.Model
        Functional or Sequential, one input and one output. Any other model can be cut at its input
        only.

    Returns
    -------
    list of Cut
        At least the input.
    """
    keras = import_keras()
    shape = tuple(model.inputs[0].shape[1:]) if getattr(model, "inputs", None) else ()
    whole = Cut(INPUT, _count(model), _parameters(_leaves(model)), shape)
    if not _is_graph(model):
        return [whole]
    nodes = _nodes(model)
    crossing = _crossing(model, nodes)
    cuts = []
    for place, tensor in enumerate(crossing):
        operation = nodes[place].operation
        above = [node.operation for node in nodes[place + 1 :]]
        below = {id(node.operation) for node in nodes[: place + 1]}
        shared = any(id(operation) in below for operation in above)
        if tensor is None or shared or not isinstance(operation, keras.layers.Layer):
            continue
        if operation.name in _POOLING or not str(tensor.dtype).startswith(("float", "bfloat")):
            continue
        layers = _unique(op for op in above if isinstance(op, keras.layers.Layer))
        counted = sum(_count(layer) for layer in layers if layer.name not in _POOLING)
        leaves = [leaf for layer in layers for leaf in _leaves(layer)]
        cuts.append(Cut(operation.name, counted, _parameters(leaves), tuple(tensor.shape[1:])))
    return [*reversed(cuts), whole]


def choose_cut(model: keras.Model, unfreeze: int | str) -> Choice:
    """Turn what was asked for into a valid cut, snapping towards the input.

    Parameters
    ----------
    model : keras.Model
        Pixels to embedding.
    unfreeze : int or str
        How many layers to train, counted from the output and at least 1; the name of the first
        layer or block to train; or ``"all"``.

    Returns
    -------
    Choice

    Raises
    ------
    UnknownNameError
        If there is no such layer or block.
    FitError
        If there are not as many layers, or none is to be trained.
    """
    requested = str(unfreeze).strip()
    digits = requested.lstrip("-").isdigit()
    cuts = find_cuts(model)
    if digits and not 1 <= int(requested) <= cuts[-1].layers:
        raise FitError(
            f"{requested} layers cannot be trained: the network has {cuts[-1].layers}.",
            f"Use --unfreeze 1 to {cuts[-1].layers}, the name of a layer or block, all or auto.",
        )
    if requested == "all":
        cut = cuts[-1]
        return Choice(requested, cut, f"all {cut.layers} layers")
    wanted = int(requested) if digits else _layers_from(model, requested)
    cut = next((cut for cut in cuts if cut.layers >= wanted), cuts[-1])
    asked = _layers_text(wanted) if digits else f"`{requested}`"
    if cut.name == INPUT:
        return Choice(requested, cut, f"{asked} -> all {cut.layers}, because {_why(model, cuts)}")
    same = digits and cut.layers == wanted
    snapped = str(cut.layers) if digits else _layers_text(cut.layers)
    text = asked if same else f"{asked} -> {snapped}"
    return Choice(requested, cut, f"{text}, at `{cut.name}`")


def split(model: keras.Model, cut: Cut) -> tuple[keras.Model | None, keras.Model]:
    """Return the network below the cut and the one above it; they share `model`'s layers.

    Parameters
    ----------
    model : keras.Model
    cut : Cut
        One of `find_cuts`.

    Returns
    -------
    trunk : keras.Model or None
        Input to boundary; None if the cut is the input.
    top : keras.Model
        Boundary to output.
    """
    keras = import_keras()
    if cut.name == INPUT:
        return None, model
    boundary = next(node.outputs[0] for node in _nodes(model) if node.operation.name == cut.name)
    trunk = keras.Model(model.inputs[0], boundary, name="trunk")
    if boundary is model.outputs[0]:
        nothing = keras.Input(boundary.shape[1:])
        return trunk, keras.Model(nothing, keras.layers.Identity()(nothing), name="top")
    return trunk, keras.Model(boundary, model.outputs[0], name="top")


def _layers_text(count: int) -> str:
    return "1 layer" if count == 1 else f"{count} layers"


def _layers_from(model: keras.Model, name: str) -> int:
    """Return how many layers there are from the first one of layer or block `name` to the output.

    A block is the layers whose names begin with its own and an underscore.
    """
    order = _names(model)
    found = [i for i, layer in enumerate(order) if layer == name]
    found = found or [i for i, layer in enumerate(order) if layer.startswith(f"{name}_")]
    if not found:
        blocks = {layer.rpartition("_")[0] for layer in order}
        raise UnknownNameError.nearest("layer or block", name, {*order, *blocks} - {""})
    start = found[0]
    layers = {layer.name: layer for layer in model.layers}
    return sum(_count(layers[layer]) for layer in order[start:])


def _names(model: keras.Model) -> list[str]:
    """Return the names of the layers in the order of computation, without input and pooling."""
    keras = import_keras()
    if not _is_graph(model):
        return [layer.name for layer in model.layers]
    operations = _unique(node.operation for node in _nodes(model))
    layers = [op for op in operations if isinstance(op, keras.layers.Layer)]
    return [layer.name for layer in layers if layer.name not in _POOLING]


def _why(model: keras.Model, cuts: list[Cut]) -> str:
    """Say why the request could only be met by the whole network."""
    keras = import_keras()
    if not _is_graph(model):
        return f"{model.name!r} is a {type(model).__name__}, no graph of layers that can be cut"
    nested = [layer.name for layer in model.layers if isinstance(layer, keras.Model)]
    if nested:
        return f"{nested[-1]!r} is a model within the model and cannot be cut inside"
    if len(cuts) == 1:
        return "more than one tensor crosses everywhere"
    return f"below `{cuts[-2].name}` there is nothing to freeze"


def _is_graph(model: Any) -> bool:
    keras = import_keras()
    if isinstance(model, keras.Sequential) or not hasattr(model, "_nodes_by_depth"):
        return False
    return len(model.inputs) == len(model.outputs) == 1


def _nodes(model: Any) -> list[Any]:
    """Return the calls of layers that make up `model`, each after those it depends on."""
    by_depth = model._nodes_by_depth
    ordered = [node for depth in sorted(by_depth, reverse=True) for node in by_depth[depth]]
    return [node for node in ordered if not node.is_input]


def _crossing(model: Any, nodes: list[Any]) -> list[Any]:
    """Return, for each place in `nodes`, the tensor that crosses after it; None if not one.

    Nothing but the order matters: a tensor that all paths share has its ancestors before it and its
    descendants after it in every order of computation, so it is alone where it is made.
    """
    last_use: dict[int, int] = {}
    for place, node in enumerate(nodes):
        for tensor in node.arguments.keras_tensors:
            last_use[id(tensor)] = place
    for tensor in model.outputs:
        last_use[id(tensor)] = len(nodes)
    alive = {id(tensor): tensor for tensor in model.inputs}
    crossing = []
    for place, node in enumerate(nodes):
        alive |= {id(tensor): tensor for tensor in node.outputs}
        alive = {key: t for key, t in alive.items() if last_use.get(key, -1) > place}
        crossing.append(next(iter(alive.values())) if len(alive) == 1 else None)
    return crossing


def _unique(items: Any) -> list[Any]:
    return list({id(item): item for item in items}.values())


def _leaves(layer: Any) -> list[Any]:
    """Return a layer, or the layers of a model and of the models in it."""
    keras = import_keras()
    if not isinstance(layer, keras.Model):
        return [layer]
    inner = [leaf for part in layer.layers for leaf in _leaves(part)]
    return inner or [layer]


def _count(layer: Any) -> int:
    keras = import_keras()
    ignored = keras.layers.InputLayer
    return sum(
        not isinstance(leaf, ignored) and leaf.name not in _POOLING for leaf in _leaves(layer)
    )


def _parameters(layers: list[Any]) -> int:
    """Return how many weights training could change: all but statistics such as BatchNorm's."""
    variables = {
        id(variable): variable
        for layer in layers
        for variable in getattr(layer, "_trainable_variables", [])
    }
    return sum(int(variable.value.shape.num_elements()) for variable in variables.values())
