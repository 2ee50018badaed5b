"""Classification heads: feature map [N, h, w, C] -> logits [N, classes] and attention map."""

import math
from collections.abc import Callable
from typing import Any

import keras
from keras import layers

from cxrflow.components.model.places import PooledMap, Unusual, local_logits, pooled
from cxrflow.components.model.recipe import TrainConfig
from cxrflow.schema.errors import CxrflowError

Head = Callable[[Any, int, TrainConfig], tuple[Any, Any]]

# Far below any attention a trained head gives, far above float16's smallest number.
RESCALE_EPSILON = 1e-6
UNUSUAL = "head_unusual"  # the probe's layer that knows what is usual at each place


def attention_head(features: Any, classes: int, recipe: TrainConfig) -> tuple[Any, Any]:
    """The 2019 study's head: features pooled with the weights of one learnt map, [N, h, w], (0, 1).

    The layers are the study's (273,870 parameters on 7x7x1024 and 13 classes). Its RescaleGAP
    divided by the mean attention as it was, which gives NaN where all of it is 0; here
    RESCALE_EPSILON is added.
    """
    channels = features.shape[-1]
    normed = layers.BatchNormalization(name="head_bn")(features)
    x = normed
    for i, width in enumerate((128, 32, 16)):
        x = layers.Conv2D(width, 1, activation="elu", name=f"head_conv{i}")(x)
    x = layers.AveragePooling2D(2, strides=1, padding="same", name="head_smooth")(x)
    attention = layers.Conv2D(1, 1, activation="sigmoid", name="head_attention")(x)
    broadcast = layers.Conv2D(
        channels,
        1,
        use_bias=False,
        kernel_initializer="ones",
        trainable=False,
        name="head_broadcast",
    )(attention)
    masked = layers.Multiply(name="head_mask")([broadcast, normed])
    pooled = layers.GlobalAveragePooling2D(name="head_pool")(masked)
    mean_attention = layers.GlobalAveragePooling2D(name="head_mean_attention")(broadcast)
    x = pooled / (mean_attention + RESCALE_EPSILON)
    x = layers.Dropout(recipe.dropout, name="head_dropout0")(x)
    x = layers.Dense(128, activation="elu", name="head_dense")(x)
    x = layers.Dropout(recipe.dropout, name="head_dropout1")(x)
    return layers.Dense(classes, name="logits")(x), attention[..., 0]


def simple_head(features: Any, classes: int, recipe: TrainConfig) -> tuple[Any, Any]:
    """The study's simple head: mean features through two linear layers.

    Being linear, it can be applied at every place of the feature map: its attention map is the
    probability of each class there, [N, h, w, classes] (class activation map, Zhou et al. 2016).
    """
    hidden = layers.Dense(512, name="head_dense")
    output = layers.Dense(classes, name="logits")
    x = layers.GlobalAveragePooling2D(name="head_pool")(features)
    x = hidden(layers.Dropout(recipe.dropout, name="head_dropout0")(x))
    x = output(layers.Dropout(recipe.dropout, name="head_dropout1")(x))
    return x, keras.ops.sigmoid(output(hidden(features)))


def class_attention_head(features: Any, classes: int, recipe: TrainConfig) -> tuple[Any, Any]:
    """One map a class, [N, h, w, classes]: its probability p at each place, which weights it.

    Probabilistic-CAM pooling (Ye et al. 2020, arXiv 2005.14480): a linear layer gives the logits
    of p; the same layer is applied to the features pooled with weights p / sum(p). Being linear,
    it may as well be the logits that are pooled. As a softmax of log(p) nothing underflows.
    """
    x = layers.BatchNormalization(name="head_bn")(features)
    x = layers.SpatialDropout2D(recipe.dropout, name="head_dropout0")(x)
    local = layers.Dense(classes, name="logits")(x)
    places = layers.Reshape((-1, classes), name="head_places")(local)
    weights = keras.ops.softmax(keras.ops.log_sigmoid(places), axis=1)
    return keras.ops.sum(weights * places, axis=1), keras.ops.sigmoid(local)


def lse_head(features: Any, classes: int, recipe: TrainConfig) -> tuple[Any, Any]:
    """Log-sum-exp pooling of each channel, then a linear layer (Wang et al. 2017, eq. 2).

    recipe.lse_r goes from the mean (towards 0) to the maximum; 10 was best in the paper. In place
    of their transition layer, batch norm gives all channels one scale, so that r means the same
    for every backbone. The map [N, h, w, classes] is the linear layer at every place, as a
    probability.
    """
    x = layers.BatchNormalization(name="head_bn")(features)
    output = layers.Dense(classes, name="logits")
    places = x.shape[1] * x.shape[2]
    # Stable for any r: keras subtracts the maximum inside, as the paper's x* does.
    total = keras.ops.logsumexp(recipe.lse_r * x, axis=(1, 2))
    pooled = (total - math.log(places)) / recipe.lse_r
    logits = output(layers.Dropout(recipe.dropout, name="head_dropout0")(pooled))
    return logits, keras.ops.sigmoid(output(x))


def probe_head(features: Any, classes: int, recipe: TrainConfig) -> tuple[Any, Any]:
    """One linear layer over means of maps, which `probe.fit_probe` fits; nothing else is trained.

    features: a map [N, h, w, D], or PooledMaps. The attention map [N, s, s, classes] is the layer
    at every place less what is usual there, as a probability; see `places`. What sets a place apart
    from the image counts one s-th, as much less as a mean over s × s places varies: without that,
    places would be 0 or 1.
    """
    maps = features if isinstance(features, list) else [PooledMap(features, 1)]
    output = layers.Dense(classes, name="logits")
    logits = output(pooled(maps))
    local = Unusual(name=UNUSUAL)(local_logits(maps, output))
    whole = keras.ops.reshape(logits, (-1, 1, 1, classes))
    return logits, keras.ops.sigmoid(whole + (local - whole) / local.shape[1])


HEADS: dict[str, Head] = {
    "attention": attention_head,
    "simple": simple_head,
    "class_attention": class_attention_head,
    "lse": lse_head,
    "probe": probe_head,
}


def find_head(name: str) -> Head:
    """The head of this name. Raises CxrflowError for an unknown one."""
    if name not in HEADS:
        raise CxrflowError(f"train.head: unknown {name!r}; choose from {', '.join(HEADS)}")
    return HEADS[name]
