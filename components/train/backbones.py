"""ImageNet backbones by name; a new one is one entry in BACKBONES."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import keras

from schema.errors import CxrflowError


@dataclass(frozen=True)
class Backbone:
    """A network of keras.applications with what is needed to use it."""

    build: Callable[..., keras.Model]
    preprocess: Callable[[Any], Any]  # pixels 0-255 -> the range its ImageNet weights expect
    image_size: int  # of its ImageNet training, pixels
    weights_file: str  # Keras's name of the ImageNet weights without top
    has_alpha: bool = False


BACKBONES = {
    "MobileNet": Backbone(
        build=keras.applications.MobileNet,
        preprocess=keras.applications.mobilenet.preprocess_input,
        image_size=224,
        weights_file="mobilenet_{alpha}_224_tf_no_top.h5",
        has_alpha=True,
    ),
}


def find_backbone(name: str) -> Backbone:
    """The entry of this name. Raises CxrflowError for an unknown one."""
    if name not in BACKBONES:
        raise CxrflowError(f"train.backbone: unknown {name!r}; choose from {', '.join(BACKBONES)}")
    return BACKBONES[name]


def build_backbone(
    name: str, image_size: int, alpha: float = 1.0, weights: str | None = None
) -> keras.Model:
    """Pixels float32 [N, S, S, 3], 0-255, to a feature map [N, h, w, C]; scaling is inside.

    `weights` is passed to keras.applications: None or "imagenet" (Keras's download).
    """
    backbone = find_backbone(name)
    pixels = keras.Input((image_size, image_size, 3), name="image")
    options = {"alpha": alpha} if backbone.has_alpha else {}
    return backbone.build(
        include_top=False, weights=weights, input_tensor=backbone.preprocess(pixels), **options
    )
