"""Within which bounds fetching writes: how much, and under which names."""

import unicodedata
from dataclasses import dataclass
from pathlib import PurePosixPath

from cxrflow.schema.errors import CxrflowError
from cxrflow.schema.portable.label_table import shown

ADVICE = "make room or choose another --to"  # where a disk is too small
_MOST_NAME, _MOST_PATH = 255, 1024  # bytes of a part of a name, and of all of it


class Damaged(CxrflowError):
    """What was fetched isn't what was published; fetching it again may help."""


class Unsafe(CxrflowError):
    """An archive that nobody should unpack."""


@dataclass(frozen=True)
class Bounds:
    """What an archive of X-rays may hold. PNGs hardly shrink when they are packed, tables do."""

    files: int = 200_000  # the whole set has 112,120 images
    ratio: int = 4  # unpacked bytes to packed ones, of the archive
    spare_bytes: int = 64 * 2**20  # unpacked, beyond that
    member_ratio: int = 100  # of a file above `spare_member_bytes`
    spare_member_bytes: int = 8 * 2**20

    def most_bytes(self, packed: int) -> int:
        """How many bytes an archive of `packed` bytes may unpack to."""
        return packed * self.ratio + self.spare_bytes

    def require(self, files: int, unpacked: int, packed: int, what: str) -> None:
        """Raises Unsafe if that is more than an archive of X-rays has."""
        if files > self.files:
            raise Unsafe(f"{what} has more than {self.files:,} files: that is no archive of X-rays")
        if unpacked > self.most_bytes(packed):
            raise Unsafe(
                f"{what} has {packed:,} bytes and unpacks to {unpacked:,} or more: that is no "
                "archive of X-rays"
            )


BOUNDS = Bounds()


def safe_name(name: str, what: str) -> PurePosixPath:
    """A member's name as a path below the folder that is unpacked into.

    Raises:
        Unsafe: it leads elsewhere, or isn't plain text.
    """
    path = PurePosixPath(name)
    leads_away = path.is_absolute() or ".." in path.parts or "\\" in name or name[1:2] == ":"
    strange = any(unicodedata.category(c) in ("Cc", "Cs", "Zl", "Zp") for c in name)
    if leads_away or strange or not path.parts or _is_long(path):
        raise Unsafe(f"{what} wants to write to {shown(name)}")
    return path


def _is_long(path: PurePosixPath) -> bool:
    try:
        parts = [len(part.encode()) for part in path.parts]
    except UnicodeEncodeError:
        return True
    return max(parts) > _MOST_NAME or sum(parts) + len(parts) > _MOST_PATH
