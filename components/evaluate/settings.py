"""What a gate looks at, as data."""

from typing import Literal

from cxrflow.components.evaluate.gate import Limits
from cxrflow.schema.settings import settings


@settings
class GateSettings:
    """Of Gate."""

    classes: tuple[str, ...]
    """Names in the order of the labels."""
    limits: Limits
    """What the model must reach."""
    name: str
    """The model's, for the verdict."""
    split: Literal["eval", "test"] = "test"
    """The one that decides."""
    synthetic: bool = False
    """The examples are phantoms."""
