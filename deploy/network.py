"""Any run as one Keras model: uint8 pixels in, calibrated probabilities out.

N images, S pixels a side, D features, C classes. The graph is flat: the layers of a backbone stand
in it one by one, as some converters lose the weights of a model inside a model.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from ..cache.spec import FeatureSpec
from ..classify.heads.knn import TOUCH, NeighborsPredictor
from ..classify.runs.backbone import run_backbone
from ..classify.runs.run import Run
from ..classify.scoring.calibrate import TINY
from ..classify.sources import Source, mean_views
from ..embed.backbones.tap import feature_model
from ..errors import DataError
from ..lazy_imports import import_keras

if TYPE_CHECKING:
    import keras

EMBEDDING = "embedding"  # the layer whose output the head takes


def run_network(run: Run) -> keras.Model:
    """Return a run as one flat Keras model: preprocessing, backbone, head and temperature.

    It computes in float32, whatever the features in the cache were computed in.

    Parameters
    ----------
    run : Run

    Returns
    -------
    keras.Model
        ``image`` uint8 (N, S, S, 3), RGB as `tlx.embed.images.decode_image` gives it, to
        ``probabilities`` float32 (N, C) in the order of ``run.class_names``. The output of its
        layer ``"embedding"`` (with underscores after it where the backbone has such a layer) is
        what the head takes, (N, D).

    Raises
    ------
    DataError
        If the run is no single network over one image: it joins backbones of several input sizes,
        averages over augmented views, or has a classifier of scikit-learn's kind.
    WeightsError
        If the backbone's weights are not those that the run was trained with.

    Examples
    --------
    >>> import tlx
    >>> run_network(tlx.fit_head("logreg")).output_shape
    (None, 2)
    """
    require_network(run)
    layers = head_layers(run.head())
    graphs = []
    for sources in _by_backbone(run.info.sources):
        specs = [FeatureSpec.from_json(source["spec"]) for source in sources]
        backbone = run_backbone(run, sources[0])
        network = backbone.build(specs[0].image_size)
        shared = replace(backbone, builder=lambda size, built=network: built)
        taken, known = {layer.name for layer in network.layers}, {*map(id, network.layers)}
        taps = []
        for spec in specs:
            features = feature_model(shared, spec)
            taps.append(features.outputs[0])
            for layer in features.layers:
                if id(layer) not in known:  # what pools this layer: another one is pooled alike
                    layer.name = free_name(layer.name, taken)
        graphs.append((network, taps, [run.info.sources.index(source) for source in sources]))
    return assemble(graphs, layers, name=run.id)


def input_spec(run: Run) -> FeatureSpec:
    """Return a spec that says how an image becomes the pixels that the run takes.

    Raises
    ------
    DataError
        See `run_network`.
    """
    require_network(run)
    return FeatureSpec.from_json(run.info.sources[0]["spec"])


def require_network(run: Run) -> None:
    """Refuse a run that is no single network over one image.

    Raises
    ------
    DataError
    """
    info = run.info
    if info.estimator is not None or not run.can_predict:
        raise DataError(
            f"run {run.id} is a classifier of scikit-learn's kind ({info.model}), and no network.",
            "Use one of tlx's own heads: tlx fit-head --model logreg",
        )
    if info.tta or any(map(mean_views, info.sources)):
        raise DataError(
            f"run {run.id} averages over augmented views of an image; a network sees one image.",
            "Use a run without: tlx fit-head, with neither --tta nor @mean-views.",
        )
    specs = [FeatureSpec.from_json(source["spec"]) for source in info.sources]
    for field in ("image_size", "fit", "interpolation", "decoder"):
        values = sorted({str(getattr(spec, field)) for spec in specs})
        if len(values) > 1:
            raise DataError(
                f"run {run.id} joins backbones whose images differ in {field}: "
                f"{' and '.join(values)}; a network has one input.",
                "Use a run of one backbone (tlx fit-head --features NAME), or embed all of them "
                "at one size: tlx embed --image-size",
            )


def _by_backbone(sources: Sequence[Source]) -> list[list[Source]]:
    """Return the sources by backbone: several layers of one are one forward pass."""
    groups: dict[tuple[str, ...], list[Source]] = {}
    for source in sources:
        spec = FeatureSpec.from_json(source["spec"])
        groups.setdefault((spec.backbone, spec.weights, spec.preprocessing), []).append(source)
    return list(groups.values())


def assemble(
    graphs: Sequence[tuple[keras.Model, Sequence[Any], Sequence[int]]],
    head: Sequence[Any],
    name: str,
) -> keras.Model:
    """Return one flat model of networks side by side and the layers of a head on what they give.

    The model shares its layers with what it is made of; of two with one name the later is renamed.

    Parameters
    ----------
    graphs : sequence of (keras.Model, tensors, places)
        Of each network its taps (N, d), and the places that these have among all features.
    head : sequence of callable
        From the embedding (N, D) to what `keras.layers.Softmax` takes.
    name : str
    """
    keras = import_keras()
    taken: set[str] = set()
    shape = graphs[0][0].input_shape[1:]
    pixels = keras.Input(shape, dtype="uint8", name="image")
    for network, *_ in graphs:
        taken |= {layer.name for layer in network._flatten_layers(recursive=True)}
    # Casts: a Lambda would have to be trusted by whoever opens the file.
    cast = keras.layers.Rescaling(1.0, name=free_name("to_float", taken))
    start = cast(pixels)
    taken = {"image", cast.name, "probabilities"}
    found: dict[int, Any] = {}
    for network, taps, places in graphs:
        tapped = keras.Model(network.inputs, list(taps))
        found |= dict(zip(places, _flat(tapped, start, taken, {}), strict=True))
    features = [found[place] for place in sorted(found)]
    if len(features) > 1:
        features = [keras.layers.Concatenate(name=free_name("joined", taken))(features)]
    tensor = keras.layers.Activation("linear", name=free_name(EMBEDDING, taken))(features[0])
    for layer in head:
        if isinstance(layer, keras.layers.Layer):
            layer.name = free_name(layer.name, taken)
        tensor = layer(tensor)
    probabilities = keras.layers.Softmax(name="probabilities")(tensor)
    return keras.Model(pixels, probabilities, name=_identifier(name))


def _flat(network: Any, tensor: Any, taken: set[str], named: dict[int, Any]) -> list[Any]:
    """Run `tensor` through a network layer by layer, also through the models inside it.

    Keras gives no public way to do so: a model that is called is one layer of the other.
    """

    def inlined(operation: Any) -> Any:
        graph = getattr(operation, "_functional", None) or operation
        if hasattr(graph, "_run_through_graph"):
            return lambda inputs, **_: _unpacked(_flat(graph, inputs, taken, named))
        if id(operation) not in named:  # one that is shared is named once
            named[id(operation)] = operation
            operation.name = free_name(operation.name, taken)
        return operation

    import_keras()
    outputs = network._run_through_graph(tensor, operation_fn=inlined)
    return list(outputs) if isinstance(outputs, (list, tuple)) else [outputs]


def _unpacked(tensors: list[Any]) -> Any:
    return tensors[0] if len(tensors) == 1 else tensors


def on_float_pixels(network: keras.Model) -> keras.Model:
    """Return a flat network, its layers shared, that takes pixels as float32: some quantisers must.

    Parameters
    ----------
    network : keras.Model
        As `run_network` gives it.
    """
    keras = import_keras()
    pixels = keras.Input(network.input_shape[1:], dtype="float32", name="image")
    return keras.Model(pixels, network._run_through_graph(pixels), name=network.name)


def free_name(name: str, taken: set[str]) -> str:
    """Return `name`, with underscores after it until no layer has it, and take it.

    Examples
    --------
    >>> free_name("logits", {"logits"})
    'logits_'
    """
    while name in taken:
        name += "_"
    taken.add(name)
    return name


def _identifier(name: str) -> str:
    """Return `name` with nothing in it that TensorFlow refuses in a scope."""
    kept = "".join(c if c.isascii() and (c.isalnum() or c in "_.-") else "_" for c in name)
    return kept if kept[:1].isalnum() else f"run{kept}"


def head_layers(predictor: Any) -> list[Any]:
    """Return what maps the embedding (N, D) to what a softmax makes calibrated probabilities of.

    Parameters
    ----------
    predictor : predictor
        As `Run.head` gives it: linear and dense heads have their temperature in their weights.

    Raises
    ------
    DataError
        If it is of a kind that is no network.
    """
    if hasattr(predictor, "dense_layers"):
        return dense_layers(predictor.dense_layers())
    head = getattr(predictor, "head", predictor)
    if isinstance(head, NeighborsPredictor):
        return _neighbor_layers(head, getattr(predictor, "temperature", 1.0))
    raise DataError(
        f"a {type(head).__name__} is no network.",
        "Use one of tlx's own heads: tlx fit-head --model logreg",
    )


def dense_layers(arrays: Sequence[tuple[np.ndarray, np.ndarray]]) -> list[Any]:
    """Return weights (inputs, units) and biases (units,) as Dense layers, ReLU between them."""
    keras = import_keras()
    layers = []
    for number, (weights, bias) in enumerate(arrays, 1):
        last = number == len(arrays)
        dense = keras.layers.Dense(
            len(bias),
            activation=None if last else "relu",
            name="logits" if last else f"hidden_{number}",
        )
        dense.build((None, len(weights)))
        dense.set_weights([weights, bias])
        layers.append(dense)
    return layers


def _neighbor_layers(head: NeighborsPredictor, temperature: float) -> list[Any]:
    """Return nearest neighbours as layers: a matrix product, the k largest, and their votes.

    z = (x - mean) / scale at length 1; cosines z @ rows.T, of which the k largest vote with
    weight / max(1 - cosine, 1e-6). What votes is a row of a table: the weight at its class.
    """
    keras = import_keras()
    ops, C, k = keras.ops, head.n_classes, head.k
    table = np.zeros((len(head.rows), C), np.float32)
    table[np.arange(len(table)), head.labels] = head.weight
    frequency = table.sum(axis=0) / table.sum()
    cosines = keras.layers.Dense(len(head.rows), use_bias=False, name="cosines")
    cosines.build((None, head.n_features))
    cosines.set_weights([np.ascontiguousarray(head.rows.T)])
    votes = keras.layers.Embedding(len(table), C, name="votes")
    votes.build((None, k))
    votes.set_weights([table])
    centred = _columns(head.mean, 1 / head.scale, np.zeros_like(head.mean), "centred")
    # Of k votes and one of the class frequencies: (k share + frequency) / (k + 1).
    mixed = _columns(np.zeros(C), np.full(C, k / (k + 1)), frequency / (k + 1), "mixed")

    def vote(similar: Any) -> Any:
        nearest, places = ops.top_k(similar, k)
        share = votes(places) / ops.expand_dims(ops.maximum(1 - nearest, TOUCH), -1)
        counted = ops.sum(share, axis=1)
        return counted / ops.sum(counted, axis=-1, keepdims=True)

    def tempered(p: Any) -> Any:
        return ops.log(ops.maximum(p, TINY)) / temperature

    return [centred, keras.layers.UnitNormalization(name="unit"), cosines, vote, mixed, tempered]


def _columns(mean: np.ndarray, factor: np.ndarray, shift: np.ndarray, name: str) -> Any:
    """Return a layer that maps each column x to (x - mean) * factor + shift."""
    keras = import_keras()
    layer = keras.layers.BatchNormalization(epsilon=0.0, name=name, trainable=False)
    layer.build((None, len(mean)))
    layer.set_weights([factor, shift, mean, np.ones_like(mean)])
    return layer
