"""What Keras 3.15 has under `keras.applications`, so that listing it needs no TensorFlow.

A test compares every row with the installed Keras; `keras_applications.describe` makes one.
"""

from __future__ import annotations

from typing import Final, NamedTuple


class Application(NamedTuple):
    """One model of `keras.applications`.

    Parameters
    ----------
    constructor : str
        Its function's name.
    image_size : int
        Pixels it was trained at.
    preprocessing : {"keras:tf", "keras:torch", "keras:caffe", "included"}
        What it wants done to pixels of 0 to 255; ``"included"`` does it itself.
    weights_file : str
        Keras's name for the file of ImageNet weights without the classifier.
    dim : int
        Channels of the last feature map.
    parameters : int
        Weights without the classifier.
    """

    constructor: str
    image_size: int
    preprocessing: str
    weights_file: str = ""
    dim: int = 0
    parameters: int = 0


_ROWS: Final = (
    Application("ConvNeXtBase", 224, "included", "convnext_base_notop.h5", 1024, 87566464),
    Application("ConvNeXtLarge", 224, "included", "convnext_large_notop.h5", 1536, 196230336),
    Application("ConvNeXtSmall", 224, "included", "convnext_small_notop.h5", 768, 49454688),
    Application("ConvNeXtTiny", 224, "included", "convnext_tiny_notop.h5", 768, 27820128),
    Application("ConvNeXtXLarge", 224, "included", "convnext_xlarge_notop.h5", 2048, 348147968),
    Application(
        "DenseNet121",
        224,
        "keras:torch",
        "densenet121_weights_tf_dim_ordering_tf_kernels_notop.h5",
        1024,
        7037504,
    ),
    Application(
        "DenseNet169",
        224,
        "keras:torch",
        "densenet169_weights_tf_dim_ordering_tf_kernels_notop.h5",
        1664,
        12642880,
    ),
    Application(
        "DenseNet201",
        224,
        "keras:torch",
        "densenet201_weights_tf_dim_ordering_tf_kernels_notop.h5",
        1920,
        18321984,
    ),
    Application("EfficientNetB0", 224, "included", "efficientnetb0_notop.h5", 1280, 4049571),
    Application("EfficientNetB1", 240, "included", "efficientnetb1_notop.h5", 1280, 6575239),
    Application("EfficientNetB2", 260, "included", "efficientnetb2_notop.h5", 1408, 7768569),
    Application("EfficientNetB3", 300, "included", "efficientnetb3_notop.h5", 1536, 10783535),
    Application("EfficientNetB4", 380, "included", "efficientnetb4_notop.h5", 1792, 17673823),
    Application("EfficientNetB5", 456, "included", "efficientnetb5_notop.h5", 2048, 28513527),
    Application("EfficientNetB6", 528, "included", "efficientnetb6_notop.h5", 2304, 40960143),
    Application("EfficientNetB7", 600, "included", "efficientnetb7_notop.h5", 2560, 64097687),
    Application("EfficientNetV2B0", 224, "included", "efficientnetv2-b0_notop.h5", 1280, 5919312),
    Application("EfficientNetV2B1", 240, "included", "efficientnetv2-b1_notop.h5", 1280, 6931124),
    Application("EfficientNetV2B2", 260, "included", "efficientnetv2-b2_notop.h5", 1408, 8769374),
    Application("EfficientNetV2B3", 300, "included", "efficientnetv2-b3_notop.h5", 1536, 12930622),
    Application("EfficientNetV2L", 480, "included", "efficientnetv2-l_notop.h5", 1280, 117746848),
    Application("EfficientNetV2M", 480, "included", "efficientnetv2-m_notop.h5", 1280, 53150388),
    Application("EfficientNetV2S", 384, "included", "efficientnetv2-s_notop.h5", 1280, 20331360),
    Application(
        "InceptionResNetV2",
        299,
        "keras:tf",
        "inception_resnet_v2_weights_tf_dim_ordering_tf_kernels_notop.h5",
        1536,
        54336736,
    ),
    Application(
        "InceptionV3",
        299,
        "keras:tf",
        "inception_v3_weights_tf_dim_ordering_tf_kernels_notop.h5",
        2048,
        21802784,
    ),
    Application("MobileNet", 224, "keras:tf", "mobilenet_1_0_224_tf_no_top.h5", 1024, 3228864),
    Application(
        "MobileNetV2",
        224,
        "keras:tf",
        "mobilenet_v2_weights_tf_dim_ordering_tf_kernels_1.0_224_no_top.h5",
        1280,
        2257984,
    ),
    Application(
        "MobileNetV3Large",
        224,
        "included",
        "weights_mobilenet_v3_large_224_1.0_float_no_top_v2.h5",
        960,
        2996352,
    ),
    Application(
        "MobileNetV3Small",
        224,
        "included",
        "weights_mobilenet_v3_small_224_1.0_float_no_top_v2.h5",
        576,
        939120,
    ),
    Application("NASNetLarge", 331, "keras:tf", "nasnet_large_no_top.h5", 4032, 84916818),
    Application("NASNetMobile", 224, "keras:tf", "nasnet_mobile_no_top.h5", 1056, 4269716),
    Application(
        "ResNet101",
        224,
        "keras:caffe",
        "resnet101_weights_tf_dim_ordering_tf_kernels_notop.h5",
        2048,
        42658176,
    ),
    Application(
        "ResNet101V2",
        224,
        "keras:tf",
        "resnet101v2_weights_tf_dim_ordering_tf_kernels_notop.h5",
        2048,
        42626560,
    ),
    Application(
        "ResNet152",
        224,
        "keras:caffe",
        "resnet152_weights_tf_dim_ordering_tf_kernels_notop.h5",
        2048,
        58370944,
    ),
    Application(
        "ResNet152V2",
        224,
        "keras:tf",
        "resnet152v2_weights_tf_dim_ordering_tf_kernels_notop.h5",
        2048,
        58331648,
    ),
    Application(
        "ResNet50",
        224,
        "keras:caffe",
        "resnet50_weights_tf_dim_ordering_tf_kernels_notop.h5",
        2048,
        23587712,
    ),
    Application(
        "ResNet50V2",
        224,
        "keras:tf",
        "resnet50v2_weights_tf_dim_ordering_tf_kernels_notop.h5",
        2048,
        23564800,
    ),
    Application(
        "VGG16",
        224,
        "keras:caffe",
        "vgg16_weights_tf_dim_ordering_tf_kernels_notop.h5",
        512,
        14714688,
    ),
    Application(
        "VGG19",
        224,
        "keras:caffe",
        "vgg19_weights_tf_dim_ordering_tf_kernels_notop.h5",
        512,
        20024384,
    ),
    Application(
        "Xception",
        299,
        "keras:tf",
        "xception_weights_tf_dim_ordering_tf_kernels_notop.h5",
        2048,
        20861480,
    ),
)
APPLICATIONS: Final = {row.constructor.lower(): row for row in _ROWS}

# Patterns of the layer names that recipes use, and the backbone whose they are.
KNOWN_LAYERS: Final = {
    r"mixed\d+": "inceptionv3",
    r"block\d_(conv\d|pool)": "vgg16",
    r"conv\d_block\d+_\w+": "resnet50",
    r"block\d[a-z]_\w+": "efficientnetb0",
}
