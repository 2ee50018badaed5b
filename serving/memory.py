"""How the process gives memory back."""

import contextlib
import ctypes

_M_MMAP_THRESHOLD = -3  # malloc.h
LARGE = 2**23  # bytes; an X-ray's tensors are smaller, and are better kept for the next one


def return_large_blocks() -> None:
    """Makes glibc give blocks of 8 MiB and more back as soon as they are free.

    Left alone it raises that limit to 32 MiB by itself, and keeps what large messages took.
    """
    with contextlib.suppress(OSError, AttributeError):  # another C library
        ctypes.CDLL(None).mallopt(_M_MMAP_THRESHOLD, LARGE)


def return_small_blocks() -> None:
    """Gives back whole pages that are free between blocks in use; takes some milliseconds.

    gRPC reads a message in small pieces, whose memory glibc would keep for the next large one.
    """
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)
