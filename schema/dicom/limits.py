"""What a DICOM may be, as data."""

from typing import Annotated

from pydantic import Field

from cxrflow.schema.settings import Fraction, Positive, settings

Level = Annotated[int, Field(ge=0, le=127)]


@settings
class DicomLimits:
    """What a DICOM may be before it is rendered, and what is said of its picture.

    Detectors give up to some 20 million pixels. None of 473 X-rays of NIH's is near the limits of
    the picture: at most 42 % of one are nearly black and 52 % nearly white, and at least 80 levels
    lie between the 5th and the 95th percentile.
    """

    max_bytes: Positive = 256 * 2**20
    """Largest file, and largest data set that it inflates to, in bytes."""
    max_header_bytes: Positive = 16 * 2**20
    """Most bytes before the pixels."""
    max_pixels: Positive = 2**26
    """Most pixels."""
    black: Level = 15
    """Highest gray level that is nearly black; 255 less it is the lowest that is nearly white."""
    max_dark: Fraction = 0.85
    """Share of nearly black pixels above which a picture is doubted."""
    max_bright: Fraction = 0.85
    """Share of nearly white pixels above which a picture is doubted."""
    min_spread: Level = 25
    """Gray levels from the 5th to the 95th percentile below which a picture is doubted."""
    max_clipped: Fraction = 0.5
    """Share of pixels lost to black or white at a window's ends above which one is doubted."""
