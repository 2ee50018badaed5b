"""The rules of schema.portable.image_rules for the host: limits as settings, errors as ours."""

from cxrflow.schema.errors import CxrflowError
from cxrflow.schema.portable import image_rules as rules
from cxrflow.schema.portable.image_rules import Header, Limits
from cxrflow.schema.settings import Positive, settings


@settings
class ImageLimits:
    """What an image may be. A model's graph has the defaults built in."""

    min_side: Positive = 64
    """Shortest side, in pixels."""
    max_side: Positive = 5120
    """Longest side, in pixels; detectors have up to some 4,300."""
    max_bytes: Positive = 16 * 2**20
    """Largest file, in bytes."""


class BadImage(rules.BadImage, CxrflowError):
    """An image that is not decoded; `reason` is one line for whoever sent it."""


def check_image(data: bytes, limits: ImageLimits) -> Header:
    """`schema.portable.image_rules.check_image`, which says when it raises BadImage."""
    try:
        return rules.check_image(data, portable(limits))
    except rules.BadImage as error:
        raise BadImage(error.rule, *error.values) from None


def portable(limits: ImageLimits) -> Limits:
    """The limits as the portable rules take them."""
    return Limits(limits.min_side, limits.max_side, limits.max_bytes)
