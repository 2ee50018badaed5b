"""Whether an image that was unpacked is a whole PNG."""

from pathlib import Path

from cxrflow.components.ingest.fetch.bounds import Damaged
from cxrflow.components.ingest.image import BadImage, read_header
from cxrflow.schema.portable.image_rules import Limits
from cxrflow.schema.portable.label_table import shown

# A run's limits are for ingest to judge; here it's only whether the file is whole.
_ANY_SIZE = Limits(min_side=1, max_side=2**31 - 1, max_bytes=2**62)


def require_whole_png(path: Path, name: str) -> None:
    """Raises Damaged if a file called .png hasn't a PNG's signature, header and last chunk."""
    if path.suffix.lower() != ".png":
        return
    try:
        header = read_header(path, _ANY_SIZE)
    except BadImage as bad:
        raise Damaged(f"{shown(name)} is no whole PNG ({bad.detail})") from None
    if header.format != "png":
        raise Damaged(f"{shown(name)} is no PNG but a {header.format.upper()}")
