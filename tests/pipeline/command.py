"""Runs `cxrflow` inside the test's process, which is quick, with any kind of output."""

import os
import signal
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, NoReturn
from unittest import mock

from cxrflow.pipeline import cli


@dataclass(frozen=True)
class Ended:
    """How a command ended."""

    code: int
    out: str
    err: str


def cxrflow(*args: str | Path, out: str | Path | None = None, encoding: str = "utf-8") -> Ended:
    """Runs one command; catches what is written past Python's streams, too.

    Args:
        args: what stands behind `cxrflow`.
        out: the file for its output, such as /dev/full; it is not caught then.
        encoding: of both streams.
    """
    code: object = 0
    with (
        _redirected("stdout", 1, out, encoding) as said,
        _redirected("stderr", 2, None, encoding) as told,
    ):
        argv, sys.argv = sys.argv, ["cxrflow", *map(str, args)]
        terminated = signal.getsignal(signal.SIGTERM)
        try:
            with mock.patch("os._exit", _exit):
                cli.main()
        except SystemExit as end:
            code = end.code
        finally:
            sys.argv = argv
            signal.signal(signal.SIGTERM, terminated)
        texts = [_text(file, encoding) for file in (said, told)]
    assert isinstance(code, int)
    return Ended(code, *texts)


def _exit(code: int) -> NoReturn:
    """A command may end its process; here that is the tests'."""
    raise SystemExit(code)


@contextmanager
def _redirected(name: str, number: int, to: str | Path | None, encoding: str) -> Iterator[BinaryIO]:
    """Puts a file in the place of a stream and of its file descriptor."""
    before, saved = getattr(sys, name), os.dup(number)
    with tempfile.TemporaryFile() as file, open(to or os.devnull, "ab") as target:
        os.dup2(target.fileno() if to else file.fileno(), number)
        stream = open(os.dup(number), "w", encoding=encoding)  # noqa: SIM115 (closed below)
        setattr(sys, name, stream)
        try:
            yield file
        finally:
            setattr(sys, name, before)
            with suppress(OSError):
                stream.close()
            os.dup2(saved, number)
            os.close(saved)


def _text(file: BinaryIO, encoding: str) -> str:
    file.seek(0)
    return file.read().decode(encoding)
