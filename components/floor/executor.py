"""Runs the baselines inside TFX."""

from pathlib import Path
from typing import Any

import numpy as np
from tfx.dsl.components.base import base_executor
from tfx.types import artifact_utils

from cxrflow.components.floor.baselines import fitted, kinds
from cxrflow.components.floor.features import featured, few_patients, frozen_network
from cxrflow.components.floor.settings import BaselinesSettings
from cxrflow.components.model.folds import cross_fit_folds
from cxrflow.components.model.recipe import TrainConfig
from cxrflow.components.node import Artifacts, read_settings, split_files
from cxrflow.components.score.files import OUT_OF_FOLD, Table, write_scores
from cxrflow.schema.features import SPLITS


class Executor(base_executor.BaseExecutor):
    """Fits the baselines to train, and writes what they say of eval and test."""

    def Do(
        self, input_dict: Artifacts, output_dict: Artifacts, exec_properties: dict[str, Any]
    ) -> None:
        """Looks at `examples`; see `component.Baselines`."""
        settings = read_settings(BaselinesSettings, exec_properties)
        output = artifact_utils.get_single_instance(output_dict["scores"])
        output.set_int_custom_property("synthetic", int(settings.synthetic))
        files = {split: split_files(input_dict["examples"], split) for split in SPLITS}
        network = frozen_network(settings)
        drawn = few_patients(files["train"], settings.floor.max_images)
        found = {
            split: featured(network, paths, settings, drawn if split == "train" else None)
            for split, paths in files.items()
        }
        images = {split: one.images for split, one in found.items()}
        features = {split: one.features for split, one in found.items()}
        # Folds are those of the models, which see all images.
        train_images = len(images["train"]) if drawn is None else len(drawn)
        folds = cross_fit_folds(settings.recipe.cross_fit, train_images + len(images["eval"]))
        if folds:
            both = ("train", "eval")
            images[OUT_OF_FOLD] = Table.together(*(images[split] for split in both))
            features[OUT_OF_FOLD] = np.concatenate([features[split] for split in both])
        about = _about(settings.recipe, features["train"].shape[1])
        for kind in kinds(features, images, about):
            scores = fitted(
                kind,
                images,
                settings.classes,
                settings.synthetic,
                folds or settings.floor.folds,
                settings.floor.strengths,
            )
            # Without all of train, models are compared with this on eval alone.
            whole = [s for s in scores if drawn is None or s.split != OUT_OF_FOLD]
            write_scores(whole, Path(output.uri))


def _about(recipe: TrainConfig, features: int) -> str:
    weights = "ImageNet" if recipe.weights == "imagenet" else "random"
    maps = len(recipe.feature_layers) + 1
    return (
        f"{features:,} features, averages of {maps} map{'s' if maps > 1 else ''} of "
        f"{recipe.backbone} ({recipe.start_from or weights} weights, {recipe.image_size} pixels)"
    )
