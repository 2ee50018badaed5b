"""Where edge bundles go, as data."""

from cxrflow.schema.settings import Positive, settings


@settings
class EdgePusherSettings:
    """Settings of EdgePusher."""

    destination: str
    """Local folder of the versions."""
    keep_versions: Positive
    """How many stay there."""
    published: str
    """`push.published` of the destination: a folder that was emptied is filled again."""
