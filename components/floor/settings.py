"""The simplest models, as data."""

from typing import Literal

from pydantic import Field

from cxrflow.components.model.backbones import BackboneName
from cxrflow.components.transform.settings import TransformConfig
from cxrflow.schema.settings import Count, Positive, Rate, settings

PROBE = "probe"  # linear, on frozen features of the first member's backbone
METADATA = "metadata"  # linear, on sex, age and view
SHUFFLED = "shuffled"  # the probe with labels that are other images': what chance reaches


@settings
class FloorConfig:
    """The baselines that every run computes on its own split."""

    image_size: Count = 0
    """What the frozen network sees, pixels; 0: what the first member sees."""
    folds: int = Field(default=5, ge=2)
    """Of the training patients, to choose the strength of the penalty; where the first member is
    cross-fitted, its folds are taken."""
    strengths: tuple[Rate, ...] = Field(default=(0.01, 0.1, 1.0), min_length=1)
    """Values of C to choose from, in rising order."""
    max_images: Positive = 10_000
    """Training images that the baselines are fitted to, of patients drawn at random."""
    batch_size: Positive = 16
    """Images at once."""


@settings
class BaselinesSettings:
    """Of the node Baselines."""

    floor: FloorConfig
    """How they are fitted."""
    backbone: BackboneName
    """The frozen network, as the first member's recipe has it; likewise the next five."""
    alpha: Rate
    """Its width multiplier."""
    color: Literal["rgb", "gray"]
    """What it sees."""
    weights: Literal["imagenet", "none"]
    """What it holds."""
    weights_dir: str
    """Where they lie."""
    image_size: Positive
    """What it sees, pixels."""
    compact: TransformConfig
    """Form of the transformed images."""
    classes: tuple[str, ...]
    """Names in the order of the labels."""
    synthetic: bool
    """The images are phantoms."""
    cross_fit: int | Literal["auto"] = 0
    """As the first member's: they learn from eval too then, in as many folds, and are scored on it
    out of fold."""
