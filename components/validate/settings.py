"""What ValidationGate demands of the data, as data."""

from typing import Literal

from cxrflow.schema.settings import Fraction, settings


@settings
class ValidateConfig:
    """Limits on the distance between splits, from 0 to 1, beyond chance (3 / sqrt(images))."""

    max_eval_distance: Fraction = 0.1
    """Largest distance of a feature's distribution in eval from train."""
    max_test_distance: Fraction = 0.3
    """Largest distance in test from train; the official test list differs by design."""


@settings
class ValidationGateSettings:
    """Settings of ValidationGate."""

    limits: ValidateConfig
    """How far eval and test may be from train; see `gate.distances`."""
    synthetic: bool
    """The examples are phantoms; the report says so."""
    classes: tuple[str, ...]
    """Names of the labels."""
    cross_fit: tuple[int | Literal["auto"], ...]
    """Members' `train.cross_fit`, for which there must be patients enough."""
