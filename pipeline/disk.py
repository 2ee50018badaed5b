"""The folder that a command writes to: checked before the work, and blamed where it was full."""

import errno
import os
import shutil
import tempfile
from pathlib import Path

from cxrflow.schema.errors import CxrflowError, causes

# What a run needs at the very least: its metadata and log; a fraction of the smallest data set.
_LEAST_BYTES = 16 * 1024 * 1024
_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
# How the system, SQLite, TensorFlow, Beam and h5py put it.
_SAYS_FULL = (
    "no space left on device",
    "disk is full",
    "disk quota exceeded",
    "file too large",
)


def no_space(folder: Path) -> CxrflowError:
    """The one line on a full disk."""
    try:
        left = shutil.disk_usage(folder).free
    except OSError:  # the folder is gone
        left = 0
    # A quota can be used up on a disk that has room.
    free = f" ({left / 1e6:.0f} MB are free)" if left < _LEAST_BYTES else ""
    return CxrflowError(
        f"no space left in {folder}{free}: free some and run the same command again, it goes on "
        "where this one stopped"
    )


def require_writable(folder: Path) -> None:
    """Makes a folder and proves that it takes files: 16 MB are written there and removed.

    Raises:
        CxrflowError: it can't be made or written to, or the disk is full.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder) as probe:
            os.posix_fallocate(probe.fileno(), 0, _LEAST_BYTES)
            probe.write(b"\0")
            os.fsync(probe.fileno())
    except OSError as error:
        if error.errno in _FULL - {errno.EFBIG}:
            raise no_space(folder) from error
        raise CxrflowError(
            f"{folder} can't be written to ({error.strerror or error}): give --root another folder"
        ) from error


def is_full(error: BaseException | None) -> bool:
    """Whether an exception, or one that it stems from, says that a disk is full."""
    return any(
        (isinstance(one, OSError) and one.errno in _FULL) or _says_full(str(one))
        for one in causes(error)
    )


def says_full(log: Path, since: int = 0) -> bool:
    """Whether a log's end says so; `since` is where in it, in bytes, an attempt began."""
    with log.open("rb") as file:
        file.seek(max(since, file.seek(0, os.SEEK_END) - 2**16))
        return _says_full(file.read().decode(errors="replace"))


def _says_full(text: str) -> bool:
    return any(words in text.lower() for words in _SAYS_FULL)
