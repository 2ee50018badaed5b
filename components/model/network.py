"""The network: backbone and head, and where training cuts it into a frozen and a trained part."""

import itertools
import math
from dataclasses import dataclass
from pathlib import Path

import keras
from keras import layers

from cxrflow.components.model.backbones import find_backbone, find_layer
from cxrflow.components.model.heads import find_head
from cxrflow.components.model.parent import load_parent
from cxrflow.components.model.places import PooledMap
from cxrflow.components.model.precision import dtype_policy
from cxrflow.components.model.recipe import TrainConfig
from cxrflow.components.model.weights import backbone_with_weights
from cxrflow.schema.errors import CxrflowError


@dataclass(frozen=True)
class Network:
    """One network, whole and in parts that share layers. Pixels: float32 [N, S, S, 3], 0-255."""

    full: keras.Model  # pixels -> {"logits": [N, C], "attention": [N, h, w] or [N, h, w, C]}
    frozen: keras.Model | None  # pixels -> one tensor of features; None where all is trained
    tail: keras.Model  # features (pixels where nothing is frozen) -> logits [N, C]
    tuned: list[keras.Layer]  # the backbone's layers that are trained
    start: str = ""  # what came of `start_from`, in words

    @property
    def classifier(self) -> keras.Model:
        """Pixels -> logits [N, C]."""
        return keras.Model(self.full.inputs[0], self.full.output["logits"])


def build_network(recipe: TrainConfig, classes: int) -> Network:
    """Backbone with its weights, and a new head, which is float32 whatever Keras's policy.

    Raises CxrflowError for a layer that doesn't exist and for weights that don't fit.
    """
    head = find_head(recipe.head)
    backbone = backbone_with_weights(
        recipe.backbone,
        recipe.image_size,
        recipe.alpha,
        "none" if recipe.start_from else recipe.weights,
        recipe.weights_dir,
        recipe.color,
        recipe.cut_at,
    )
    start = load_parent(backbone, Path(recipe.start_from)) if recipe.start_from else ""
    pixels = backbone.inputs[0]
    probe = recipe.head == "probe"
    features = _pooled_maps(backbone, recipe) if probe else _features(backbone, recipe)
    with dtype_policy("float32"):
        logits, attention = head(features, classes, recipe)
    full = keras.Model(pixels, {"logits": logits, "attention": attention}, name=recipe.backbone)
    if probe:
        means = full.get_layer("logits").input
        frozen, tail = keras.Model(pixels, means), keras.Model(means, logits)
    elif recipe.finetune_from:
        cut = _cut(backbone, features, recipe)
        frozen, tail = keras.Model(pixels, _pack(cut)), _tail(cut, logits)
    else:
        frozen, tail = None, keras.Model(pixels, logits)
    for layer in tail.layers:
        if isinstance(layer, layers.BatchNormalization):
            layer.momentum = recipe.bn_momentum
    tuned = [layer for layer in backbone.layers if layer in tail.layers]
    if recipe.batch_norm == "frozen":
        tuned = [x for x in tuned if not isinstance(x, layers.BatchNormalization)]
    for layer in backbone.layers:
        # A batch norm that isn't trainable runs in inference mode, and its statistics stay.
        layer.trainable = layer in tuned
        if layer not in tail.layers and isinstance(layer, layers.Dropout):
            layer.rate = 0.0  # what is frozen gives the same in training (EfficientNetV2)
    return Network(full, frozen, tail, tuned, start)


def _pooled_maps(backbone: keras.Model, recipe: TrainConfig) -> list[PooledMap]:
    """What a probe sees: the maps of feature_layers, then the last one."""
    last = backbone.layers[-1].name
    names = [*recipe.feature_layers, last]
    if strange := [name for name in recipe.cell_layers if name not in names]:
        raise CxrflowError(
            f"train.cell_layers: {strange[0]} is none of the layers that the probe sees: "
            f"{', '.join(names)}"
        )
    maps = []
    for name in names:
        features = find_layer(backbone, name, "feature_layers", recipe.backbone).output
        cells = recipe.cells if name in recipe.cell_layers else 1
        if len(features.shape) != 4 or min(features.shape[1:3]) < cells:
            raise CxrflowError(
                f"train.feature_layers: the output of {name}, {features.shape[1:]}, is no map of "
                f"at least {cells} × {cells} places"
            )
        maps.append(PooledMap(features, cells))
    return maps


def _features(backbone: keras.Model, recipe: TrainConfig) -> keras.KerasTensor:
    """The last map, with means of earlier ones over its cells as further channels.

    Such hypercolumns (Hariharan et al., CVPR 2015) keep texture that the last layers of an
    ImageNet network have given up.
    """
    last = backbone.output
    maps = [last]
    for name in recipe.feature_layers:
        earlier = find_layer(backbone, name, "feature_layers", recipe.backbone).output
        pool = earlier.shape[1] // last.shape[1]
        if len(earlier.shape) != 4 or earlier.shape[1] != pool * last.shape[1]:
            raise CxrflowError(
                f"train.feature_layers: the output of {name}, {earlier.shape[1:]}, is no map "
                f"that divides into {last.shape[1]} cells; another train.image_size may help"
            )
        maps.append(layers.AveragePooling2D(pool)(earlier))
    return layers.Concatenate()(maps) if len(maps) > 1 else last


def _cut(
    backbone: keras.Model, features: keras.KerasTensor, recipe: TrainConfig
) -> list[keras.KerasTensor]:
    """The tensors that pass from the frozen into the trained part.

    More than one where the backbone or the head looks past the first trained layer (NASNet's cells
    see the last two cells).
    """
    if recipe.finetune_from == "head":
        return [features]
    name = recipe.finetune_from
    if name == "default":
        name = find_backbone(recipe.backbone).finetune_from
    allowed = ' ("default", "head" and "" are allowed too)'
    first = find_layer(backbone, name, "finetune_from", recipe.backbone, allowed)
    start = first.output if isinstance(first.input, list) else first.input
    trained, cut = {id(start)}, {id(start): start}
    for operation in keras.Model(backbone.inputs, features).operations:  # inputs first
        inputs = keras.tree.flatten(operation.input)
        if any(id(x) in trained for x in inputs):
            trained |= {id(x) for x in keras.tree.flatten(operation.output)}
            cut |= {id(x): x for x in inputs if id(x) not in trained}
    return list(cut.values())


def _pack(cut: list[keras.KerasTensor]) -> keras.KerasTensor:
    """One tensor as it is, several as one of shape [N, D]."""
    if len(cut) == 1:
        return cut[0]
    return layers.Concatenate()([layers.Flatten()(x) for x in cut])


def _tail(cut: list[keras.KerasTensor], logits: keras.KerasTensor) -> keras.Model:
    """From what `_pack` gives to logits, with the layers that lie between."""
    if len(cut) == 1:
        return keras.Model(cut[0], logits)
    packed = keras.Input(_pack(cut).shape[1:], dtype=cut[0].dtype)
    ends = list(itertools.accumulate(math.prod(x.shape[1:]) for x in cut))
    pieces = keras.ops.split(packed, ends[:-1], axis=1)
    inputs = [layers.Reshape(x.shape[1:])(piece) for x, piece in zip(cut, pieces, strict=True)]
    # `call` runs the layers one by one; calling the model would make one layer of it.
    return keras.Model(packed, keras.Model(cut, logits).call(inputs))
