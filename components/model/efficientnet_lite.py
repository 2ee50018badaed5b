"""EfficientNet-Lite0, which keras.applications lacks: EfficientNet-B0 for phones.

Without squeeze-and-excitation and swish, which quantise badly (Liu, "Higher accuracy on vision
models with EfficientNet-Lite", TensorFlow blog 2020; Tan and Le, arXiv 1905.11946, table 1).
"""

from typing import Any

import keras
from keras import layers

# Stages: side of the depthwise kernel, blocks, output channels, expansion, stride of the first.
_STAGES = (
    (3, 1, 16, 1, 1),
    (3, 2, 24, 6, 2),
    (5, 2, 40, 6, 2),
    (3, 3, 80, 6, 2),
    (5, 3, 112, 6, 1),
    (5, 4, 192, 6, 2),
    (3, 1, 320, 6, 1),
)
_STEM, _TOP = 32, 1280  # channels


def preprocess_input(pixels: Any) -> Any:
    """Pixels 0 to 255 as the network was trained on."""
    return (pixels - 127.0) / 128.0


def EfficientNetLite0(  # named as keras.applications names its own
    include_top: bool = False, weights: None = None, *, input_tensor: Any
) -> keras.Model:
    """Scaled pixels [N, S, S, C] to a feature map [N, S / 32, S / 32, 1280], with random weights.

    Layers are named as EfficientNetB0's, with `_relu` for `_activation`. `include_top` and
    `weights` are there for the sake of keras.applications' way of calling; Keras has no download.
    """
    if include_top or weights:
        raise ValueError("EfficientNetLite0 is built without top and without weights")
    x = _conv(input_tensor, _STEM, 3, "stem", strides=2)
    for number, (kernel, blocks, channels, expansion, stride) in enumerate(_STAGES, start=1):
        for block in range(blocks):
            name = f"block{number}{chr(ord('a') + block)}"
            x = _block(x, kernel, channels, expansion, 1 if block else stride, name)
    inputs = keras.utils.get_source_inputs(input_tensor)  # the pixels, before they were scaled
    return keras.Model(inputs, _conv(x, _TOP, 1, "top"), name="efficientnet_lite0")


def _block(inputs: Any, kernel: int, channels: int, expansion: int, strides: int, name: str) -> Any:
    """An inverted residual block (Sandler et al., CVPR 2018)."""
    x = inputs
    if expansion > 1:
        x = _conv(x, inputs.shape[-1] * expansion, 1, f"{name}_expand")
    x = layers.DepthwiseConv2D(
        kernel, strides, padding="same", use_bias=False, name=f"{name}_dwconv"
    )(x)
    x = _normed(x, name)
    x = layers.Conv2D(channels, 1, use_bias=False, name=f"{name}_project_conv")(x)
    x = layers.BatchNormalization(name=f"{name}_project_bn")(x)
    same = strides == 1 and inputs.shape[-1] == channels
    return layers.Add(name=f"{name}_add")([x, inputs]) if same else x


def _conv(x: Any, channels: int, kernel: int, name: str, strides: int = 1) -> Any:
    x = layers.Conv2D(
        channels, kernel, strides, padding="same", use_bias=False, name=f"{name}_conv"
    )(x)
    return _normed(x, name)


def _normed(x: Any, name: str) -> Any:
    x = layers.BatchNormalization(name=f"{name}_bn")(x)
    return layers.ReLU(6.0, name=f"{name}_relu")(x)
