"""What a profile needs of a machine, and whether it is here: GPU memory, disk, memory, weights."""

import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from cxrflow.components.model.backbones import BACKBONES
from cxrflow.components.model.recipe import TrainConfig
from cxrflow.components.model.weights import weights_path
from cxrflow.schema.errors import CxrflowError


@dataclass(frozen=True)
class Needs:
    """GB of 1e9 bytes; `disk` without the X-rays, `gpu` of one GPU."""

    name: str
    disk: float
    memory: float
    gpu: float = 0  # 0: a CPU will do


DEMO = Needs("the demo", disk=5, memory=4)  # README
_OF_PROFILES = {  # as their heads say
    "nih": Needs("nih", disk=60, memory=16, gpu=12),
    "nih_baseline": Needs("nih_baseline", disk=60, memory=16, gpu=12),
}


def of_profile(profile: str | None) -> Needs:
    """What a profile for GPUs needs; of others, or none, the demo stands for the least."""
    return _OF_PROFILES.get((profile or "").partition("+")[0], DEMO)


def weights_folder() -> Path:
    """Where Keras keeps what it has downloaded."""
    return Path(os.environ.get("KERAS_HOME", Path.home() / ".keras")) / "models"


def backbones_here() -> list[str]:
    """Names of the backbones of which ImageNet weights, of any width, lie in `weights_folder`."""
    there = {path.name for path in weights_folder().glob("*.h5")}
    return [
        name
        for name, backbone in BACKBONES.items()
        if there
        & {backbone.weights_file.format(alpha=a) for a in backbone.alphas.values() or ("",)}
    ]


def lacking_weights(recipes: Iterable[TrainConfig]) -> tuple[list[str], list[str]]:
    """Which backbones have no ImageNet weights here: names of those that Keras can download, and
    for each of the others what is wrong."""
    downloads: list[str] = []
    missing: list[str] = []
    for recipe in recipes:
        lacking = _lacking(recipe)
        by_keras = BACKBONES[recipe.backbone].download and not recipe.weights_dir
        if lacking and by_keras:
            downloads.append(recipe.backbone)
        elif lacking:
            missing.append(lacking)
    return list(dict.fromkeys(downloads)), list(dict.fromkeys(missing))


def _lacking(recipe: TrainConfig) -> str:
    """What is wrong with the weights that a recipe starts from; empty where they are here."""
    if recipe.weights == "none" or recipe.start_from:
        return ""
    try:
        weights_path(recipe.backbone, recipe.alpha, recipe.weights_dir or str(weights_folder()))
    except CxrflowError as error:
        return str(error)
    return ""
