"""How a model's logits become probabilities and findings, as data."""

from typing import Literal

from cxrflow.schema.settings import Fraction, settings


@settings
class CalibrateConfig:
    """How logits become probabilities, and which operating points model.json names."""

    method: Literal["platt", "none"] = "platt"
    """How logits become probabilities: platt is fitted on eval, per class; none is the sigmoid."""
    sensitivity: Fraction = 0.9
    """Of the operating point with a fixed sensitivity."""
    specificity: Fraction = 0.9
    """Of the operating point with a fixed specificity."""
