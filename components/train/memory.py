"""Memory that training frees stays with the process until it ends."""

import ctypes
from collections.abc import Iterator
from contextlib import contextmanager

from cxrflow.schema.memory import give_back

# Parameters of glibc's mallopt(3), from malloc.h.
_TRIM_THRESHOLD, _TOP_PAD, _MMAP_MAX = -1, -2, -4
_KEEPING = {_MMAP_MAX: 0, _TRIM_THRESHOLD: 2**31 - 1, _TOP_PAD: 64 * 2**20}
# As glibc begins, but for the threshold: what its own adaptation ends at.
_USUAL = {_MMAP_MAX: 65536, _TRIM_THRESHOLD: 64 * 2**20, _TOP_PAD: 128 * 2**10}


@contextmanager
def kept() -> Iterator[None]:
    """Lets malloc keep what is freed inside, and gives it back to the system at the end.

    Every step of a training frees and takes the same tensors of some megabytes. glibc hands them to
    the system each time, which must fill them with zeros again, page by page: a quarter of a small
    network's training on a CPU. Without glibc nothing changes.
    """
    libc = ctypes.CDLL(None)
    if not hasattr(libc, "mallopt"):
        yield
        return
    _set(libc, _KEEPING)
    try:
        yield
    finally:
        _set(libc, _USUAL)
        give_back(collect=False)


def _set(libc: ctypes.CDLL, values: dict[int, int]) -> None:
    for parameter, value in values.items():
        libc.mallopt(parameter, value)
