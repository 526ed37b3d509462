"""BatchNorm folded into the convolution before it: the same function of the same weights, cheaper.

With its stored statistics BatchNorm is one factor and one offset a channel, which can be applied to
the kernel instead of to every activation. Outputs and gradients are the same up to rounding, and
what is left of the normalisation works on weights, of which there are far fewer than activations.
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

from ..lazy_imports import import_keras, import_tensorflow

if TYPE_CHECKING:
    import keras


def fold_batchnorm(model: keras.Model) -> keras.Model:
    """Return a model that computes what `model` does in inference, with the same weights.

    Parameters
    ----------
    model : keras.Model
        Functional. Only a BatchNorm that alone follows a 2-D convolution is folded; everything else
        stays as it is.

    Returns
    -------
    keras.Model
        For training and predicting: its layers are no ones to save.
    """
    keras = import_keras()
    norm_of = _foldable(model)
    folded = {id(norm) for norm in norm_of.values()}

    def call(layer: Any, *args: Any, **kwargs: Any) -> Any:
        if id(layer) in folded:
            return args[0] if args else kwargs["inputs"]
        norm = norm_of.get(id(layer))
        if norm is not None:
            convolve = functools.partial(_convolve, layer, norm)
            layer = keras.layers.Lambda(convolve, layer.compute_output_shape)
        return layer(*args, **kwargs)

    return keras.models.clone_model(model, clone_function=lambda layer: layer, call_function=call)


def _foldable(model: Any) -> dict[int, Any]:
    """Return the BatchNorm that can be folded into a convolution, by the id of the convolution."""
    keras = import_keras()
    nodes = [node for nodes in model._nodes_by_depth.values() for node in nodes]
    made_by = {id(tensor): node.operation for node in nodes for tensor in node.outputs}
    uses: dict[int, list[Any]] = {}  # of the output of an operation, by the operation's id
    calls: dict[int, int] = {}
    for node in nodes:
        calls[id(node.operation)] = calls.get(id(node.operation), 0) + 1
        for tensor in node.arguments.keras_tensors:
            uses.setdefault(id(made_by[id(tensor)]), []).append(node.operation)
    outputs = {id(made_by[id(tensor)]) for tensor in model.outputs}
    return {
        id(layer): users[0]
        for layer in model.layers
        if _is_linear_convolution(layer)
        and id(layer) not in outputs
        and len(users := uses.get(id(layer), [])) == 1
        and type(users[0]) is keras.layers.BatchNormalization
        and users[0].axis in (-1, 3)
        and users[0].compute_dtype == "float32"
        and calls[id(layer)] == calls[id(users[0])] == 1
    }


def _is_linear_convolution(layer: Any) -> bool:
    keras = import_keras()
    return (
        type(layer) in (keras.layers.Conv2D, keras.layers.DepthwiseConv2D)
        and layer.activation in (None, keras.activations.linear)
        and layer.data_format == "channels_last"
        and layer.compute_dtype == "float32"
    )


def _convolve(conv: Any, norm: Any, x: Any) -> Any:
    """Return the output of `norm` after `conv`, from one convolution with a bias."""
    keras, tf = import_keras(), import_tensorflow()
    kernel, scale = conv.kernel, tf.math.rsqrt(norm.moving_variance + norm.epsilon)
    if norm.gamma is not None:
        scale *= norm.gamma
    offset = -norm.moving_mean * scale
    if conv.bias is not None:
        offset += conv.bias * scale
    if norm.beta is not None:
        offset += norm.beta
    geometry = (conv.strides, conv.padding, conv.data_format, conv.dilation_rate)
    if isinstance(conv, keras.layers.DepthwiseConv2D):
        kernel = kernel * tf.reshape(scale, kernel.shape[2:])
        return tf.nn.bias_add(keras.ops.depthwise_conv(x, kernel, *geometry), offset)
    kernel = kernel * scale
    if conv.kernel_size == conv.strides == (1, 1) and conv.groups == 1:
        # A product of matrices, for which TensorFlow's kernels are faster on CPUs.
        shape = tf.concat([tf.shape(x)[:-1], [conv.filters]], 0)
        rows = tf.reshape(x, (-1, x.shape[-1]))
        product = tf.nn.bias_add(rows @ tf.reshape(kernel, (-1, conv.filters)), offset)
        return tf.ensure_shape(tf.reshape(product, shape), (*x.shape[:-1], conv.filters))
    return tf.nn.bias_add(keras.ops.conv(x, kernel, *geometry), offset)
