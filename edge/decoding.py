"""Reads and decodes files in threads, ahead of the network."""

import hashlib
import os
import stat
import time
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from typing import Any, BinaryIO, Callable, Iterable, Iterator, NamedTuple, Optional

import numpy as np

from bundle import Preprocessing, reason
from image_rules import BadImage, check_size
from images import prepare

_CHUNK = 1 << 20
_NO_MEMORY = "too little memory to decode it"


class Decoded(NamedTuple):
    """An image that was read: uint8 [S, S], or why there are no pixels."""

    path: str
    pixels: Optional[np.ndarray]
    problem: str
    seconds: float
    sha256: str  # of the file; "" if it wasn't read, or a problem isn't the file's


def decode_ahead(
    paths: Iterable[str], how: Preprocessing, workers: int, ahead: int
) -> Iterator[Decoded]:
    """Decodes in threads, in the paths' order, up to `ahead` images before they are asked for."""
    return _ahead(lambda path: read(path, how), paths, workers, ahead)


def fingerprints(paths: Iterable[str], max_bytes: int, workers: int) -> Iterator[str]:
    """Fingerprints of files as they are now, in the paths' order: see `fingerprint`."""
    return _ahead(lambda path: fingerprint(path, max_bytes), paths, workers, 4 * workers)


def read(path: str, how: Preprocessing) -> Decoded:
    """Reads and decodes one file; never raises for a bad one."""
    begin = time.perf_counter()
    pixels, problem, sha256 = None, "", ""
    try:
        with _open(path, how.max_bytes) as file:
            data = file.read(how.max_bytes + 1)
        check_size(len(data), how.max_bytes)  # it may have grown
        sha256 = hashlib.sha256(data).hexdigest()
        pixels = prepare(data, how)
    except BadImage as error:
        problem = str(error)
    except OSError as error:
        problem = _unreadable(error)
    except MemoryError:
        problem, sha256 = _NO_MEMORY, ""
    return Decoded(path, pixels, problem, time.perf_counter() - begin, sha256)


def fingerprint(path: str, max_bytes: int) -> str:
    """The SHA-256 of a file, or the words of `read` for one that it wouldn't read."""
    digest = hashlib.sha256()
    try:
        with _open(path, max_bytes) as file:
            for chunk in iter(lambda: file.read(_CHUNK), b""):
                digest.update(chunk)
    except BadImage as error:
        return str(error)
    except OSError as error:
        return _unreadable(error)
    return digest.hexdigest()


def _open(path: str, max_bytes: int) -> BinaryIO:
    """A regular file of at most `max_bytes`. Raises OSError or BadImage."""
    handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK)  # a pipe would wait for its writer
    file = open(handle, "rb")  # noqa: SIM115
    try:
        status = os.fstat(handle)
        if not stat.S_ISREG(status.st_mode):
            raise OSError("no regular file any more")
        check_size(status.st_size, max_bytes)
    except BaseException:
        file.close()
        raise
    return file


def _unreadable(error: OSError) -> str:
    return f"can't be read: {reason(error)}"


def _ahead(
    function: Callable[[str], Any], paths: Iterable[str], workers: int, ahead: int
) -> Iterator[Any]:
    waiting = deque()  # type: deque
    with ThreadPoolExecutor(workers) as pool:
        try:
            for path in paths:
                waiting.append(pool.submit(function, path))
                if len(waiting) > ahead:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()
