"""What becomes of a model's logits, and how it tells what is no chest X-ray, as data."""

from typing import Annotated, Literal

from pydantic import Field

from cxrflow.schema.settings import Fraction, Positive, settings


@settings
class CalibrateConfig:
    """How logits become probabilities, and which operating points model.json names."""

    method: Literal["platt", "none"] = "platt"
    """How logits become probabilities: platt is fitted on eval, per class; none is the sigmoid."""
    sensitivity: Fraction = 0.9
    """Sensitivity of the operating point that fixes it."""
    specificity: Fraction = 0.9
    """Specificity of the operating point that fixes it."""


@settings
class OutOfDistributionConfig:
    """How a model tells what is no chest X-ray like those that it was trained on."""

    enabled: bool = True
    """Whether exported models give the score; false: they answer whatever the image shows."""
    grid: Annotated[int, Field(ge=1, le=16)] = 5
    """Cells along each side of an image, over which brightness and texture are averaged."""
    quantile: Annotated[float, Field(gt=0, le=1)] = 0.96
    """Share of eval's X-rays that aren't flagged: the threshold is their score's quantile."""
    images: Positive = 2000
    """Images of each split, spread evenly, that are looked at, at most."""
    min_images: Annotated[int, Field(ge=2)] = 50
    """Training images below which a model doesn't tell."""
