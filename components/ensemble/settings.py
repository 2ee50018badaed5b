"""How members are combined, as data."""

from collections.abc import Collection
from typing import Literal

from pydantic import Field

from cxrflow.components.model.settings import CalibrateConfig
from cxrflow.components.transform.settings import TransformConfig
from cxrflow.schema.settings import Positive, Rate, settings

ENSEMBLE = "ensemble"  # the combined model, among the names of models
# What is scored, simplest first; hard_vote_majority is hard_vote's second output.
METHODS = (
    "mean",
    "mean_logits",
    "weighted",
    "hard_vote",
    "hard_vote_majority",
    "max_vote",
    "stacked",
)


@settings
class EnsembleConfig:
    """The ensemble that is exported."""

    method: Literal[
        "best", "mean", "mean_logits", "weighted", "hard_vote", "max_vote", "stacked"
    ] = "best"
    """How members are combined; best: the method with the highest mean AUC on eval of those that
    beat the mean by more than chance, else the mean."""
    draws: Positive = 1000
    """Draws of eval's patients, with replacement, to tell a better method from chance."""
    folds: int = Field(default=5, ge=2)
    """Folds of eval, by patient, to score the methods that are fitted on it."""
    equal_weights_images: Rate = 50.0
    """weighted: pulls to equal weights as so many images would that favour no member."""
    stacking_c: Rate = 1.0
    """stacked: inverse strength of the regression's L2 penalty."""
    batch_size: Positive = 16
    """Images predicted at once."""


@settings
class EnsembleSettings:
    """Settings of the node Ensemble."""

    ensemble: EnsembleConfig
    """How members are combined."""
    calibrate: CalibrateConfig
    """Probabilities and operating points, as a Trainer's."""
    classes: tuple[str, ...]
    """Names in the order of the labels."""
    compact: TransformConfig
    """Form of the transformed images."""
    synthetic: bool
    """The images are phantoms."""
    data_version: str
    """Version of the data, for model.json."""
    split: str
    """What decided which X-rays are test, for model.json."""
    slices: tuple[str, ...] = ()
    """Features of a described source's further groups."""


def final_model(trained: Collection[str]) -> str:
    """Name of the model that is judged on test and served: the only one, or several's ensemble."""
    return ENSEMBLE if len(trained) > 1 else next(iter(trained))
