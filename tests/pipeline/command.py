"""Runs `cxrflow` inside the test's process: quick, and with any output stream."""

import io
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from pipeline import cli


@dataclass(frozen=True)
class Ended:
    """How a command ended."""

    code: int
    out: str
    err: str


def run(*args: str | Path, out: str | Path | None = None, encoding: str = "utf-8") -> Ended:
    """One command, its file descriptors 1 and 2 caught too.

    Args:
        args: what stands behind `cxrflow`.
        out: a file for its standard output, such as /dev/full.
        encoding: of both streams.
    """
    with _caught(1, out) as read_out, _caught(2, None) as read_err:
        streams, argv = (sys.stdout, sys.stderr), sys.argv
        sys.stdout, sys.stderr = (
            io.TextIOWrapper(os.fdopen(os.dup(number), "wb"), encoding=encoding, write_through=True)
            for number in (1, 2)
        )
        sys.argv = ["cxrflow", *map(str, args)]
        try:
            cli.main()
        except SystemExit as end:
            code = end.code
        finally:
            for stream in (sys.stdout, sys.stderr):
                with suppress(OSError):
                    stream.close()
            (sys.stdout, sys.stderr), sys.argv = streams, argv
        assert isinstance(code, int)
        return Ended(code, read_out(encoding), read_err(encoding))
