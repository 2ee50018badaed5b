"""Memory that a process has freed, and that glibc keeps for it."""

import contextlib
import ctypes


def give_back() -> None:
    """Whole pages that are free between blocks in use go back to the system; takes milliseconds.

    With another C library nothing happens.
    """
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)
