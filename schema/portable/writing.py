"""Files and folders that are whole or not there at all, and locks: one way for host and device.

Standard library only, and imports none of its neighbours: the device has it as a copied file.
"""

import fcntl
import os
from contextlib import contextmanager, suppress
from typing import Iterator


@contextmanager
def written_aside(path: str, ending: str = ".part", sync: bool = True) -> Iterator[str]:
    """Another path to write to, which takes this one's place at the end, or goes if that fails.

    Args:
        path: of the file.
        ending: added to its name for as long as it is written.
        sync: whether a power cut, too, leaves the old file or the new one, whole.
    """
    aside = path + ending
    try:
        yield aside
        if sync:
            sync_path(aside)
        os.replace(aside, path)
    except BaseException:
        with suppress(OSError):
            os.unlink(aside)
        raise
    if sync:
        with suppress(OSError):  # some file systems can't
            sync_path(os.path.dirname(path) or ".")


def sync_path(path: str) -> None:
    """Makes sure that a file's content, or a folder's list of entries, is on the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def lock(handle: int, shared: bool = False, wait: bool = False) -> None:
    """Locks an open file or folder until it is closed or its process ends, however it ends.

    Raises:
        BlockingIOError: somebody else has it locked, and it isn't waited for.
    """
    kind = fcntl.LOCK_SH if shared else fcntl.LOCK_EX
    fcntl.flock(handle, kind if wait else kind | fcntl.LOCK_NB)
