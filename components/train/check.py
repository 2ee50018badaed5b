"""Builds every recipe's network before anything is ingested or trained."""

import dataclasses
import logging
import math
from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING

from cxrflow.components.model.recipe import FROZEN, TrainConfig
from cxrflow.schema.errors import CxrflowError

if TYPE_CHECKING:
    from cxrflow.components.model.network import Network

logger = logging.getLogger(__name__)

# What a network depends on; recipes that agree in these are built once.
_NETWORK = (
    *FROZEN,
    *("head", "feature_layers", "finetune_from", "cell_layers", "cells", "test_time_views"),
)


@dataclasses.dataclass(frozen=True)
class NetworkSize:
    """Numbers of parameters; `trained` are those of the last phase, after any head_epochs."""

    parameters: int
    trained: int
    start: str = ""  # what came of `train.start_from`


def check_recipe(
    name: str, recipe: TrainConfig, classes: int, exported: bool = False
) -> NetworkSize:
    """Builds the network with its weights, and forgets it; converts it where it is to be exported.

    Keras's session is cleared. Raises CxrflowError, beginning with `models.NAME`, for a layer that
    doesn't exist, for weights that are missing or don't fit, and for an operation that LiteRT
    hasn't.
    """
    import keras

    from cxrflow.components.model.network import build_network

    try:
        network = build_network(recipe, classes)
        if network.start:
            logger.warning("models.%s: %s", name, network.start)
        if exported:
            require_convertible(network, recipe)
        trained = sum(math.prod(w.shape) for w in network.full.trainable_weights)
        return NetworkSize(network.full.count_params(), trained, network.start)
    except CxrflowError as error:
        raise CxrflowError(f"models.{name}: {error}") from error
    finally:
        keras.backend.clear_session()


def require_convertible(network: "Network", recipe: TrainConfig) -> None:
    """Converts an untrained network as EdgeExport will the trained one.

    Raises CxrflowError for an operation that LiteRT hasn't.
    """
    import tensorflow as tf

    from cxrflow.components.edge.export.convert import to_litert
    from cxrflow.components.model.test_time import with_views

    forward = with_views(lambda x: network.full(x, training=False), recipe.test_time_views)
    image = tf.TensorSpec([1, recipe.image_size, recipe.image_size, 3], tf.float32)
    function = tf.function(lambda x: tf.sigmoid(forward(x)["logits"]), [image], autograph=False)
    what = f"{recipe.backbone} with head {recipe.head}"
    try:
        to_litert(what, function.get_concrete_function(), network.full)
    except CxrflowError as error:
        raise CxrflowError(
            f"{error}; take another backbone or head, name a member that converts in edge.model, "
            "or set edge.enabled to false"
        ) from error


def check_recipes(
    recipes: Mapping[str, TrainConfig], classes: int, exported: Collection[str] = ()
) -> dict[str, NetworkSize]:
    """check_recipe of each member, by name; equal networks are built once.

    exported: names of those whose networks are to become LiteRT models.
    """
    from cxrflow.components.train.devices import idle_devices

    gpus = count_gpus()
    sizes: dict[tuple[object, ...], NetworkSize] = {}
    converted = {_network(recipes[name]) for name in exported}
    found = {}
    for name, recipe in recipes.items():
        if recipe.unused:
            logger.warning(
                "models.%s: %s change nothing, as a probe isn't trained by steps",
                name,
                ", ".join(recipe.unused),
            )
        if recipe.head != "probe" and recipe.cross_fit:
            logger.warning(
                "models.%s: where cross_fit trains a network for each fold, the probabilities of "
                "their mean lie too near to prevalence, as single networks calibrate it "
                "(docs/models.md); a probe (head: probe) has none of this",
                name,
            )
        if recipe.head != "probe" and (left_idle := idle_devices(recipe, gpus)):
            logger.warning("models.%s %s", name, left_idle)
        if recipe.finetune_from == "head" and not _has_probe(recipes, recipe):
            logger.warning(
                "models.%s trains a head on frozen features without a probe (head: probe) of "
                "the same %s beside it, which may be as good and takes seconds",
                name,
                recipe.backbone,
            )
        network = _network(recipe)
        if network not in sizes:
            sizes[network] = check_recipe(name, recipe, classes, network in converted)
        found[name] = sizes[network]
    return found


def check_floor(recipe: TrainConfig, classes: int) -> None:
    """Builds the network whose features the baselines see, with its weights, and forgets it.

    Raises CxrflowError, beginning with `floor`, where it can't be built.
    """
    import keras

    from cxrflow.components.model.network import build_network

    try:
        build_network(recipe, classes)
    except CxrflowError as error:
        raise CxrflowError(f"floor: {error}") from error
    finally:
        keras.backend.clear_session()


def count_gpus() -> int:
    """How many TensorFlow sees."""
    import tensorflow as tf

    return len(tf.config.list_physical_devices("GPU"))


def _network(recipe: TrainConfig) -> tuple[object, ...]:
    return tuple(getattr(recipe, field) for field in _NETWORK)


def _has_probe(recipes: Mapping[str, TrainConfig], recipe: TrainConfig) -> bool:
    """Whether one sees the same frozen network as this recipe's head."""
    return any(
        r.head == "probe" and all(getattr(r, name) == getattr(recipe, name) for name in FROZEN)
        for r in recipes.values()
    )
