"""The simplest models, as data."""

from typing import Any

from pydantic import Field

from cxrflow.components.model.recipe import FROZEN, TrainConfig
from cxrflow.components.transform.settings import TransformConfig
from cxrflow.schema.settings import Count, Positive, Rate, settings

PROBE = "probe"  # linear, on what the first member's head sees before any training
METADATA = "metadata"  # linear, on sex, age and view
SHUFFLED = "shuffled"  # the probe with labels that are other images': what chance reaches

# What the probe shares with the first member. Where that is cross-fitted, baselines learn from eval
# too, in as many folds, and are scored on it out of fold.
_SHARED = (*FROZEN, "feature_layers", "cross_fit")


@settings
class FloorConfig:
    """The baselines that every run computes on its own split."""

    image_size: Count = 0
    """What the frozen network sees, pixels; 0: what the first member sees."""
    folds: int = Field(default=5, ge=2)
    """Folds of the training patients, to choose the strength of the penalty; where the first member
    is cross-fitted, its folds are taken."""
    strengths: tuple[Rate, ...] = Field(default=(0.01, 0.1, 1.0), min_length=1)
    """Values of C to choose from, in rising order."""
    max_images: Positive = 10_000
    """Training images that the baselines are fitted to, of patients drawn at random."""
    batch_size: Positive = 16
    """Images at once."""


@settings
class BaselinesSettings:
    """Settings of the node Baselines."""

    floor: FloorConfig
    """How they are fitted."""
    recipe: TrainConfig
    """The network, as `floor_recipe` makes it."""
    weights: str
    """`weights.weights_fingerprint` of it: other files, other features."""
    compact: TransformConfig
    """Form of the transformed images."""
    classes: tuple[str, ...]
    """Names in the order of the labels."""
    synthetic: bool
    """The images are phantoms."""


def floor_recipe(floor: FloorConfig, first: TrainConfig) -> TrainConfig:
    """The baseline's network: averages of the maps that the first member's head sees."""
    shared: dict[str, Any] = {name: getattr(first, name) for name in _SHARED}
    shared["image_size"] = floor.image_size or first.image_size
    return TrainConfig(head="probe", **shared)
