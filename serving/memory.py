"""How the process gives memory back."""

import contextlib
import ctypes

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # malloc.h
_LARGE = 2**25  # bytes; a batch's tensors are smaller, and are better kept for the next one
LARGE_MESSAGE = 2**23  # bytes; after one the process looks what it can give back
_KEPT = 2 * _LARGE  # bytes; what glibc itself sets beside that limit


def return_large_blocks() -> None:
    """Makes glibc give blocks of 32 MiB and more back as soon as they are free.

    Left alone it raises that limit only once such a block was freed. Whoever sets it must set what
    is kept too: that stays at 128 KiB otherwise, and each request pays for its pages anew (a fifth
    of MobileNet's time).
    """
    with contextlib.suppress(OSError, AttributeError):  # another C library
        library = ctypes.CDLL(None)
        library.mallopt(_M_MMAP_THRESHOLD, _LARGE)
        library.mallopt(_M_TRIM_THRESHOLD, _KEPT)
