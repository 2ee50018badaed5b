"""Builds every recipe's network before anything is ingested or trained."""

import dataclasses
import logging
import math
from collections.abc import Mapping

from cxrflow.components.model.recipe import TrainConfig
from cxrflow.schema.errors import CxrflowError

logger = logging.getLogger(__name__)

# What a network depends on; recipes that agree in these are built once.
_NETWORK = (
    "backbone",
    "alpha",
    "head",
    "image_size",
    "color",
    "weights",
    "weights_dir",
    "start_from",
    "feature_layers",
    "finetune_from",
    "cut_at",
    "cell_layers",
    "cells",
)


@dataclasses.dataclass(frozen=True)
class NetworkSize:
    """Numbers of parameters; `trained` are those of the last phase, after any head_epochs."""

    parameters: int
    trained: int
    start: str = ""  # what came of `train.start_from`


def check_recipe(name: str, recipe: TrainConfig, classes: int) -> NetworkSize:
    """Builds the network with its weights, and forgets it.

    Keras's session is cleared. Raises CxrflowError, beginning with `models.NAME`, for a layer that
    doesn't exist and for weights that are missing or don't fit.
    """
    import keras

    from cxrflow.components.model.network import build_network

    try:
        network = build_network(recipe, classes)
        if network.start:
            logger.warning("models.%s: %s", name, network.start)
        trained = sum(math.prod(w.shape) for w in network.full.trainable_weights)
        return NetworkSize(network.full.count_params(), trained, network.start)
    except CxrflowError as error:
        raise CxrflowError(f"models.{name}: {error}") from error
    finally:
        keras.backend.clear_session()


def check_recipes(recipes: Mapping[str, TrainConfig], classes: int) -> dict[str, NetworkSize]:
    """check_recipe of each member, by name; equal networks are built once."""
    sizes: dict[tuple[object, ...], NetworkSize] = {}
    found = {}
    for name, recipe in recipes.items():
        if recipe.unused:
            logger.warning(
                "models.%s: %s change nothing, as a probe isn't trained by steps",
                name,
                ", ".join(recipe.unused),
            )
        elif recipe.finetune_from == "head" and not _has_probe(recipes, recipe):
            logger.warning(
                "models.%s trains a head on frozen features without a probe (head: probe) of %s "
                "beside it, which may be as good and takes seconds",
                name,
                recipe.backbone,
            )
        network = tuple(getattr(recipe, field) for field in _NETWORK)
        if network not in sizes:
            sizes[network] = check_recipe(name, recipe, classes)
        found[name] = sizes[network]
    return found


def _has_probe(recipes: Mapping[str, TrainConfig], recipe: TrainConfig) -> bool:
    return any(r.head == "probe" and r.backbone == recipe.backbone for r in recipes.values())
