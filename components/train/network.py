"""The network: backbone and head, and where training cuts it into a frozen and a trained part."""

from collections.abc import Sequence
from dataclasses import dataclass

import keras

from components.train.heads import find_head
from components.train.recipe import TrainConfig
from components.train.weights import backbone_with_weights
from schema.errors import CxrflowError


@dataclass(frozen=True)
class Network:
    """One network, whole and in parts that share layers. Pixels: float32 [N, S, S, 3], 0-255."""

    full: keras.Model  # pixels -> {"logits": [N, C], "attention": [N, h, w] or [N, h, w, C]}
    frozen: keras.Model | None  # pixels -> features; None where everything is trained
    tail: keras.Model  # features (pixels where nothing is frozen) -> logits [N, C]
    tuned: list[keras.Layer]  # the backbone's layers that are trained

    @property
    def classifier(self) -> keras.Model:
        """Pixels -> logits [N, C]."""
        return keras.Model(self.full.inputs[0], self.full.output["logits"])


def build_network(recipe: TrainConfig, classes: int) -> Network:
    """Backbone with its weights, and a new head. Raises CxrflowError for what doesn't exist."""
    head = find_head(recipe.head)
    backbone = backbone_with_weights(
        recipe.backbone, recipe.image_size, recipe.alpha, recipe.weights, recipe.weights_dir
    )
    pixels = backbone.inputs[0]
    features = _features(backbone, recipe.feature_layers)
    logits, attention = head(features, classes, recipe.dropout)
    full = keras.Model(pixels, {"logits": logits, "attention": attention}, name=recipe.backbone)
    cut = _cut(backbone, features, recipe.finetune_from) if recipe.finetune_from else pixels
    frozen = keras.Model(pixels, cut) if recipe.finetune_from else None
    tail = keras.Model(cut, logits)
    for layer in tail.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.momentum = recipe.bn_momentum
    tuned = [layer for layer in backbone.layers if layer in tail.layers]
    if recipe.batch_norm == "frozen":
        tuned = [x for x in tuned if not isinstance(x, keras.layers.BatchNormalization)]
    # A batch norm that isn't trainable runs in inference mode, and its statistics stay.
    for layer in backbone.layers:
        layer.trainable = layer in tuned
    return Network(full, frozen, tail, tuned)


def _features(backbone: keras.Model, layers: Sequence[str]) -> keras.KerasTensor:
    """The last map, with means of earlier ones over its cells as further channels.

    Such hypercolumns (Hariharan et al., CVPR 2015) keep texture that the last layers of an
    ImageNet network have given up.
    """
    last = backbone.output
    maps = [last]
    for name in layers:
        earlier = _layer(backbone, name, "feature_layers").output
        pool = earlier.shape[1] // last.shape[1]
        if earlier.shape[1] != pool * last.shape[1]:
            raise CxrflowError(
                f"train.feature_layers: {name}'s map of side {earlier.shape[1]} doesn't divide "
                f"into {last.shape[1]} cells; another train.image_size may"
            )
        maps.append(keras.layers.AveragePooling2D(pool)(earlier))
    return keras.layers.Concatenate()(maps) if layers else last


def _layer(backbone: keras.Model, name: str, setting: str) -> keras.layers.Layer:
    names = [layer.name for layer in backbone.layers]
    if name not in names:
        raise CxrflowError(
            f"train.{setting}: {backbone.name} has no layer {name!r}, only {', '.join(names[1:])}"
        )
    return backbone.get_layer(name)


def _cut(
    backbone: keras.Model, features: keras.KerasTensor, finetune_from: str
) -> keras.KerasTensor:
    """The tensor that enters the first trained layer ("head": what the head sees)."""
    if finetune_from == "head":
        return features
    cut = _layer(backbone, finetune_from, "finetune_from").input
    try:
        keras.Model(cut, features)
    except ValueError as error:
        raise CxrflowError(
            f"train.finetune_from: {finetune_from!r} lies inside a branch of {backbone.name}, or "
            "behind one of train.feature_layers; give a layer that the whole signal passes through"
        ) from error
    return cut
