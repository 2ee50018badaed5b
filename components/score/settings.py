"""How models are scored, as data."""

from typing import Literal

from pydantic import Field

from cxrflow.schema.settings import Positive, settings


@settings
class ScorerSettings:
    """Settings of the node Scorer."""

    classes: tuple[str, ...]
    """Names in the order of the labels."""
    synthetic: bool
    """The images are phantoms."""
    slices: tuple[str, ...] = ()
    """Features of a described source's further groups."""
    splits: tuple[Literal["eval", "test"], ...] = Field(default=("eval", "test"), min_length=1)
    """What is scored: test alone of a model that was made from other data."""
    batch_size: Positive = 16
    """Images at once."""
