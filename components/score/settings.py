"""How models are scored, as data."""

from cxrflow.schema.settings import Positive, settings


@settings
class ScorerSettings:
    """Of the node Scorer."""

    classes: tuple[str, ...]
    """Names in the order of the labels."""
    synthetic: bool
    """The images are phantoms."""
    slices: tuple[str, ...] = ()
    """Features of a described source's further groups."""
    batch_size: Positive = 16
    """Images at once."""
