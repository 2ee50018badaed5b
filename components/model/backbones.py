"""ImageNet backbones by name; a new one is a name and its entry in BACKBONES.

Keras is imported on use.
"""

import difflib
import importlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from cxrflow.schema.errors import CxrflowError

if TYPE_CHECKING:
    import keras

_NO_TOP = "{name}_weights_tf_dim_ordering_tf_kernels_notop.h5"


@dataclass(frozen=True)
class Backbone:
    """What is needed to use a network of keras.applications."""

    module: str  # of keras.applications, or ours: holds the constructor and preprocess_input
    weights_file: str  # Keras's name of the ImageNet weights without top
    finetune_from: str  # first trained layer of finetune_from "default": its last stage
    image_size: int = 224  # of its ImageNet training, pixels
    min_size: int = 32  # pixels
    # Width multipliers with ImageNet weights, as weights_file spells them.
    alphas: Mapping[float, str] = field(default_factory=dict)
    download: bool = True  # Keras has ImageNet weights of it


BackboneName = Literal[
    "MobileNet",
    "MobileNetV2",
    "InceptionV3",
    "InceptionResNetV2",
    "VGG19",
    "NASNetMobile",
    "NASNetLarge",
    "ResNet50",
    "DenseNet121",
    "EfficientNetV2B0",
    "ResNet50V2",
    "EfficientNetLite0",
    "ConvNeXtTiny",
]
BACKBONES: dict[str, Backbone] = {
    "MobileNet": Backbone(
        "mobilenet",
        "mobilenet_{alpha}_224_tf_no_top.h5",
        "conv_dw_12",
        alphas={0.25: "2_5", 0.5: "5_0", 0.75: "7_5", 1.0: "1_0"},
    ),
    "MobileNetV2": Backbone(
        "mobilenet_v2",
        "mobilenet_v2_weights_tf_dim_ordering_tf_kernels_{alpha}_224_no_top.h5",
        "block_13_expand",
        alphas={alpha: str(alpha) for alpha in (0.35, 0.5, 0.75, 1.0, 1.3, 1.4)},
    ),
    "InceptionV3": Backbone(
        "inception_v3", _NO_TOP.format(name="inception_v3"), "mixed8", image_size=299, min_size=75
    ),
    "InceptionResNetV2": Backbone(
        "inception_resnet_v2",
        _NO_TOP.format(name="inception_resnet_v2"),
        "mixed_7a",
        image_size=299,
        min_size=75,
    ),
    "VGG19": Backbone("vgg19", _NO_TOP.format(name="vgg19"), "block5_conv1"),
    "NASNetMobile": Backbone("nasnet", "nasnet_mobile_no_top.h5", "reduction_concat_reduce_8"),
    "NASNetLarge": Backbone(
        "nasnet", "nasnet_large_no_top.h5", "reduction_concat_reduce_12", image_size=331
    ),
    "ResNet50": Backbone("resnet50", _NO_TOP.format(name="resnet50"), "conv5_block1_1_conv"),
    "DenseNet121": Backbone("densenet", _NO_TOP.format(name="densenet121"), "conv5_block1_0_bn"),
    "EfficientNetV2B0": Backbone(
        "efficientnet_v2", "efficientnetv2-b0_notop.h5", "block6a_expand_conv"
    ),
    "ResNet50V2": Backbone(
        "resnet_v2", _NO_TOP.format(name="resnet50v2"), "conv5_block1_preact_bn"
    ),
    "EfficientNetLite0": Backbone(
        "cxrflow.components.model.efficientnet_lite",
        "efficientnet_lite0_224_no_top.h5",
        "block6a_expand_conv",
        download=False,
    ),
    "ConvNeXtTiny": Backbone(
        "convnext", "convnext_tiny_notop.h5", "convnext_tiny_downsampling_block_2"
    ),
}


def application_of(backbone: Backbone) -> Any:
    """The module with its constructor and `preprocess_input`."""
    if "." in backbone.module:
        return importlib.import_module(backbone.module)
    import keras

    return getattr(keras.applications, backbone.module)


def find_backbone(name: str) -> Backbone:
    """The entry of this name. Raises CxrflowError for an unknown one."""
    if name not in BACKBONES:
        raise CxrflowError(f"train.backbone: unknown {name!r}; choose from {', '.join(BACKBONES)}")
    return BACKBONES[name]


def build_backbone(
    name: str,
    image_size: int,
    alpha: float = 1.0,
    weights: str | None = None,
    color: Literal["rgb", "gray"] = "rgb",
) -> "keras.Model":
    """Pixels float32 [N, S, S, 3], 0-255, to a feature map [N, h, w, C]; scaling is inside.

    The names of its layers depend on the arguments alone; what Keras names later in this process
    counts on from them. `weights` is passed to keras.applications: None or "imagenet" (Keras's
    download). With color "gray" the network itself has one channel, the mean of the scaled three.
    Raises CxrflowError for an unknown name.
    """
    import keras

    from cxrflow.components.private_api import forget_layer_names

    backbone = find_backbone(name)
    application = application_of(backbone)
    options: dict[str, Any] = {"alpha": alpha} if backbone.alphas else {}
    forget_layer_names()
    pixels = keras.Input((image_size, image_size, 3), name="image")
    scaled = application.preprocess_input(pixels)
    if color == "gray":
        scaled = keras.ops.mean(scaled, axis=-1, keepdims=True)
        options["input_shape"] = (image_size, image_size, 1)
    constructor = getattr(application, name)
    return constructor(include_top=False, weights=weights, input_tensor=scaled, **options)


def find_layer(
    network: "keras.Model", name: str, setting: str, backbone: str, others: str = ""
) -> "keras.Layer":
    """The network's layer of this name.

    Raises CxrflowError, which names the setting, the backbone and the layers most like it.
    """
    names = [layer.name for layer in network.layers[1:]]  # the first is the input
    if name not in names:
        close = difflib.get_close_matches(name, names, n=5, cutoff=0.0)
        raise CxrflowError(
            f"train.{setting}: {backbone} has no layer {name!r}; the names most like it are "
            f"{', '.join(close)}{others}"
        )
    return network.get_layer(name)


def cut_backbone(network: "keras.Model", cut_at: str, backbone: str) -> "keras.Model":
    """The network up to the output of layer `cut_at`, or all of it where that is empty.

    Raises CxrflowError where there is no such layer or its output is no map.
    """
    import keras

    if not cut_at:
        return network
    output = find_layer(network, cut_at, "cut_at", backbone).output
    if isinstance(output, list) or len(output.shape) != 4:
        raise CxrflowError(f"train.cut_at: what {cut_at} of {backbone} puts out is no map")
    return keras.Model(network.inputs, output, name=network.name)
