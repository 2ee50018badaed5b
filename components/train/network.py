"""The network: backbone and head, and where training cuts it into a frozen and a trained part."""

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
    logits, attention = head(backbone.output, classes, recipe.dropout)
    full = keras.Model(
        backbone.inputs[0], {"logits": logits, "attention": attention}, name=recipe.backbone
    )
    cut = _cut(backbone, recipe.finetune_from) if recipe.finetune_from else backbone.inputs[0]
    frozen = keras.Model(backbone.inputs[0], cut) if recipe.finetune_from else None
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


def _cut(backbone: keras.Model, finetune_from: str) -> keras.KerasTensor:
    """The tensor that enters the first trained layer."""
    if finetune_from == "head":
        return backbone.output
    names = [layer.name for layer in backbone.layers]
    if finetune_from not in names:
        raise CxrflowError(
            f"train.finetune_from: {backbone.name} has no layer {finetune_from!r}; "
            f'give "head", nothing (train everything) or one of {", ".join(names[1:])}'
        )
    cut = backbone.get_layer(finetune_from).input
    try:
        keras.Model(cut, backbone.output)
    except ValueError as error:
        raise CxrflowError(
            f"train.finetune_from: {finetune_from!r} lies inside a branch of {backbone.name}; "
            "give a layer that the whole signal passes through"
        ) from error
    return cut
