"""How attention maps are scored against radiologists' boxes, as data."""

from typing import Annotated

from pydantic import Field

from cxrflow.schema.settings import Count, Fraction, Positive, settings

Intensity = Annotated[int, Field(ge=1, le=255)]


@settings
class LocaliseConfig:
    """How attention maps are scored against boxes; the defaults are Wang et al.'s (CVPR 2017)."""

    boxes: str = ""
    """A BBox_List_2017.csv; empty: the one in the data folder, if there is one."""
    intensities: tuple[Intensity, ...] = (60, 180)
    """Levels of a map stretched to 0 to 255: regions as bright become predicted boxes."""
    overlaps: tuple[Fraction, ...] = (0.1, 0.25, 0.5, 0.75, 0.9)
    """T(IoBB): share of a predicted box above which its place in a true box counts as found."""
    grid: Positive = 256
    """Pixels, the side to which maps are brought before regions are looked for."""
    random_boxes: Positive = 100
    """Places a predicted box is moved to for the random-box control."""
    draws: Positive = 1000
    """Draws of patients for the 95 % intervals."""
    seed: Count = 0
    """Seed of draws, random places and randomised weights."""


@settings
class LocaliserSettings:
    """Settings of Localiser."""

    localise: LocaliseConfig
    """How it scores."""
    boxes: str
    """The list's path."""
    boxes_version: str
    """Changes when the list's content does."""
    synthetic: bool = False
    """The X-rays are phantoms."""
