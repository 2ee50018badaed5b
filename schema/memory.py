"""Memory that a process has freed, and that Python or glibc keeps for it."""

import contextlib
import ctypes
import gc


def give_back(collect: bool = True) -> None:
    """Whole pages that are free between blocks in use go back to the system.

    With another C library than glibc nothing but `collect` happens.

    Args:
        collect: objects that hold each other are freed first, such as models; takes up to a
            second, without it some milliseconds.
    """
    if collect:
        gc.collect()
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)
