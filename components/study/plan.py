"""The trials of each experiment: which settings are tried, and what recipe each trial trains."""

import dataclasses
from collections.abc import Iterable
from itertools import product
from typing import Any

from pydantic import ValidationError

from cxrflow.components.model.backbones import BACKBONES
from cxrflow.components.model.recipe import TrainConfig
from cxrflow.components.study.settings import Experiment, StudyConfig
from cxrflow.schema.errors import CxrflowError

Values = dict[str, Any]  # a trial's place in its experiment's grid

# Gray networks have no ImageNet weights: both colors start from random ones, as in 2019.
_FROM_SCRATCH = {
    "weights": "none",
    "finetune_from": "",
    "head_epochs": 0,
    "cached_views": 0,
    "batch_norm": "train",
}


def grid(
    experiment: Experiment, study: StudyConfig, compact_size: int
) -> dict[str, tuple[Any, ...]]:
    """The values that each setting takes; every combination is a trial.

    compact_size: pixels of the stored images; larger image sizes are left out.
    """

    def stored(sizes: Iterable[int]) -> tuple[int, ...]:
        return tuple(size for size in sizes if size <= compact_size)

    if experiment == "optimizer":
        return {"optimizer": tuple(study.optimizers)}
    if experiment == "learning_rate_batch":
        return {
            "learning_rate": study.learning_rates,
            "accumulation_steps": study.accumulation_steps,
        }
    if experiment == "image_size":
        return {"image_size": stored(study.image_sizes)}
    if experiment == "color":
        return {"color": ("rgb", "gray"), "image_size": stored(study.color_sizes)}
    if experiment == "backbone":
        return {"seed": study.seeds, "backbone": study.backbones}
    return {"seed": study.seeds, "head": study.heads}


def changes(experiment: Experiment, values: Values, study: StudyConfig) -> dict[str, Any]:
    """What a trial changes in the recipe, apart from its budget."""
    if experiment == "optimizer":
        return dataclasses.asdict(study.optimizers[values["optimizer"]])
    if experiment == "learning_rate_batch":
        return values | {"batch_size": study.batch_size}
    if experiment == "color":
        return values | _FROM_SCRATCH
    return dict(values)


def trial_recipe(
    experiment: Experiment, values: Values, study: StudyConfig, recipe: TrainConfig
) -> TrainConfig:
    """The recipe of one trial: it sees exactly `study.images_seen` images, early stopping is off.

    Raises CxrflowError for settings that don't exist or don't go together, and where the images
    between two evaluations aren't a whole number of updates.
    """
    images = study.images_seen // study.evaluations
    budget: dict[str, Any] = {
        "images_seen": study.images_seen,
        "epoch_images": images,
        "patience": study.evaluations,
        "head_epochs": 0,  # they would see images before the first that is counted
    }
    try:
        changed = changes(experiment, values, study)
        if changed.get("backbone", recipe.backbone) != recipe.backbone:
            changed |= _without_its_layers(recipe)
            alphas = BACKBONES.get(changed["backbone"])
            changed |= {} if alphas is None or alphas.alphas else {"alpha": 1.0}
        trial = dataclasses.replace(recipe, **(changed | budget))
    except ValidationError as error:
        first = error.errors()[0]
        where = "".join(f"train.{name}: " for name in first["loc"])
        what = first["msg"].removeprefix("Value error, ")
        raise CxrflowError(f"study, {experiment}, {_shown(values)}: {where}{what}") from None
    if trial.head == "probe":
        raise CxrflowError(
            f"study, {experiment}: a probe (train.head) isn't trained in steps, so that trials "
            "would all be the same; name a profile with another head, such as nih_sample"
        )
    update = trial.batch_size * trial.accumulation_steps
    if study.images_seen % study.evaluations or images % update:
        step = update * study.evaluations
        raise CxrflowError(
            f"study.images_seen {study.images_seen} in {study.evaluations} evaluations isn't a "
            f"whole number of updates of {update} images ({experiment}: {_shown(values)}); set it "
            f"to {max(1, round(study.images_seen / step)) * step}"
        )
    return trial


def check(
    experiments: Iterable[Experiment], study: StudyConfig, recipe: TrainConfig, compact_size: int
) -> int:
    """Counts all trials. Raises CxrflowError if one of them can't be."""
    trials = 0
    for experiment in experiments:
        axes = grid(experiment, study, compact_size)
        for values in product(*axes.values()):
            trial_recipe(experiment, dict(zip(axes, values, strict=True)), study, recipe)
            trials += 1
        if not all(axes.values()):
            raise CxrflowError(
                f"study: every image size of {experiment} is above transform.image_size "
                f"{compact_size}; set smaller ones"
            )
    return trials


def _without_its_layers(recipe: TrainConfig) -> Values:
    """What names layers of the recipe's own backbone, left out."""
    layer = recipe.finetune_from not in ("", "head", "default")
    return {
        "cut_at": "",
        "feature_layers": (),
        **({"finetune_from": "default"} if layer else {}),
    }


def _shown(values: Values) -> str:
    return ", ".join(f"{name}={value}" for name, value in values.items())
