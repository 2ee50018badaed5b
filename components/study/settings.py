"""What the study compares, as data; the defaults are the grids of the 2019 study."""

from dataclasses import field
from typing import Literal

from pydantic import Field

from cxrflow.schema.settings import Count, Pixels, Positive, Rate, Share, settings

Experiment = Literal["optimizer", "learning_rate_batch", "image_size", "color", "head", "backbone"]
EXPERIMENTS: tuple[Experiment, ...] = (
    "optimizer",
    "learning_rate_batch",
    "image_size",
    "color",
    "head",
    "backbone",
)
SEEDED = ("head", "backbone")  # compared over `seeds`


@settings
class OptimizerConfig:
    """An optimizer at the learning rate that it is tried with."""

    optimizer: str
    """The optimizer, by Keras's name."""
    learning_rate: Rate
    """Learning rate that it is tried with."""
    momentum: Share = 0.0
    """Momentum of sgd."""


def _optimizers() -> dict[str, OptimizerConfig]:
    return {
        "sgd": OptimizerConfig(optimizer="sgd", learning_rate=0.1),
        "sgd_momentum": OptimizerConfig(optimizer="sgd", learning_rate=0.1, momentum=0.9),
        "adagrad": OptimizerConfig(optimizer="adagrad", learning_rate=0.01),
        "adadelta": OptimizerConfig(optimizer="adadelta", learning_rate=1.0),
        "adam": OptimizerConfig(optimizer="adam", learning_rate=0.001),
    }


@settings
class StudyConfig:
    """Budget and grids of `cxrflow study`. What a grid doesn't name is as in `train`."""

    images_seen: Positive = 327_680
    """Training images that every trial sees: 10 times 32,768; the 2019 study's epoch had 32,000."""
    evaluations: Positive = 10
    """Evaluations on eval, evenly spread over the images seen."""
    optimizers: dict[str, OptimizerConfig] = field(default_factory=_optimizers)
    """Optimizers of the experiment optimizer, by name."""
    batch_size: Positive = 32
    """Images in memory at once in the experiment learning_rate_batch."""
    accumulation_steps: tuple[Positive, ...] = Field(default=(16, 8, 4, 2, 1), min_length=1)
    """Batches an update in the experiment learning_rate_batch, and so its batch sizes."""
    learning_rates: tuple[Rate, ...] = Field(
        default=(1e-4, 2e-4, 5e-4, 1e-3, 2e-3, 5e-3, 1e-2, 2e-2, 1e-1), min_length=1
    )
    """Learning rates of the experiment learning_rate_batch."""
    image_sizes: tuple[Pixels, ...] = Field(
        default=(1024, 512, 256, 224, 192, 128, 64), min_length=1
    )
    """Image sizes of the experiment image_size; those above transform.image_size are left out."""
    color_sizes: tuple[Pixels, ...] = Field(default=(256, 224), min_length=1)
    """Image sizes of the experiment color."""
    heads: tuple[str, ...] = Field(
        default=("attention", "simple", "class_attention", "lse"), min_length=1
    )
    """Heads of the experiment head."""
    backbones: tuple[str, ...] = Field(
        default=(
            "MobileNet",
            "MobileNetV2",
            "InceptionV3",
            "InceptionResNetV2",
            "VGG19",
            "NASNetLarge",
        ),
        min_length=1,
    )
    """Backbones of the experiment backbone, all at train.image_size; a layer that train names is
    of the recipe's own backbone, and left out for the others."""
    seeds: tuple[Count, ...] = Field(default=(0, 1, 2), min_length=1)
    """Seeds of the experiments head and backbone."""
