"""Room on a disk, asked for before anything is written."""

import shutil
from pathlib import Path

from cxrflow.schema.errors import CxrflowError


def free_bytes(folder: Path) -> int:
    """What is free in the file system of a folder, which needn't be there yet."""
    return shutil.disk_usage(nearest(folder)).free


def nearest(folder: Path) -> Path:
    """The folder, absolute, or what there is of the path to it."""
    folder = folder.absolute()
    return next(path for path in (folder, *folder.parents) if path.is_dir())


def require_space(folder: Path, needed: int, for_what: str, advice: str) -> None:
    """Raises CxrflowError with the figures and the advice where `needed` bytes aren't free.

    Args:
        folder: on the disk in question; it needn't be there yet.
        needed: bytes.
        for_what: that need them; several things.
        advice: what to do where there are fewer.
    """
    free = free_bytes(folder)
    if needed > free:
        raise CxrflowError(
            f"{for_what} need {readable(needed)} in {folder}, {readable(free)} are free: {advice}"
        )


def readable(size: int) -> str:
    """Bytes for people."""
    return f"{size / 1e9:.1f} GB" if size >= 1e8 else f"{size / 1e6:.1f} MB"
