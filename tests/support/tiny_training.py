"""Runs run_fn as TFX does, on a network that trains in seconds."""

import dataclasses
import os
from types import SimpleNamespace

os.environ["TF_USE_LEGACY_KERAS"] = "0"

import keras

from cxrflow.components.model.recipe import TrainConfig
from cxrflow.components.model.settings import OutOfDistributionConfig
from cxrflow.components.train.run import run_fn

CLASSES = ["Left", "Right", "Absent"]


def tiny_backbone(
    include_top: bool,
    weights: None,
    input_tensor: keras.KerasTensor,
    alpha: float,
    input_shape: tuple[int, int, int] | None = None,
) -> keras.Model:
    """In MobileNet's place: it takes seconds to trace. Three convolutions with batch norm."""
    x = input_tensor
    for i, width in enumerate((8, 16, 32)):
        x = keras.layers.Conv2D(width, 3, 2, "same", use_bias=False, name=f"conv{i}")(x)
        x = keras.layers.BatchNormalization(name=f"conv{i}_bn")(x)
        x = keras.layers.ReLU(name=f"conv{i}_relu")(x)
    return keras.Model(keras.utils.get_source_inputs(x)[0], x, name="tiny")


def recipe(**changes: object) -> TrainConfig:
    """A recipe that trains in seconds."""
    small = {"weights": "none", "image_size": 64, "batch_size": 16, "bn_momentum": 0.5}
    return TrainConfig(**small | {"learning_rate": 3e-3} | changes)


def run(data: str, out: str, teacher: str | None = None, size: int = 64, **changes: object) -> None:
    """Trains on DATA/Split-train and DATA/Split-eval into OUT/Format-Serving.

    teacher: a SavedModel whose word is all that is learned; size: of the compact images.
    """
    taught = {"teacher": "ensemble", "soft_share": 1.0} if teacher else {}
    run_fn(
        SimpleNamespace(
            train_files=[f"{data}/Split-train/*"],
            eval_files=[f"{data}/Split-eval/*"],
            serving_model_dir=f"{out}/Format-Serving",
            model_run_dir=f"{out}/logs",
            base_model=teacher,
            custom_config={
                "name": "tiny",
                "calibrate": {"method": "platt", "sensitivity": 0.9, "specificity": 0.9},
                "out_of_distribution": dataclasses.asdict(OutOfDistributionConfig()),
                "train": dataclasses.asdict(recipe(**changes)),
                "transform": {"image_size": size, "encoding": "jpeg", "jpeg_quality": 95},
                "classes": CLASSES,
                "data_version": "data-1",
                "split": "official test list",
                "code_version": "code-1",
                "synthetic": True,
                "work_dir": f"{out}/work",
                **taught,
            },
        )
    )
