"""The form of transformed images, as data."""

from typing import Literal

from pydantic import Field

from cxrflow.schema.settings import Pixels, settings


@settings
class TransformConfig:
    """The compact image that Transform writes and all later steps read."""

    image_size: Pixels = 512
    """Side of the compact square image that Transform writes, in pixels."""
    encoding: Literal["jpeg", "raw"] = "jpeg"
    """How the compact image is kept: jpeg is about ten times smaller than raw."""
    jpeg_quality: int = Field(default=95, ge=1, le=100)
    """JPEG quality of the compact image."""


@settings
class TransformSettings:
    """Settings of Transform."""

    classes: tuple[str, ...]
    """Names in the order of the labels."""
    compact: TransformConfig
    """The image that is written."""
    slices: tuple[str, ...] = ()
    """Features of further groups, which are passed through."""
