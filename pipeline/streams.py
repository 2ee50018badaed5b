"""The process's output: neither a character nor a full disk ends a command in a traceback."""

import errno
import io
import os
import sys
from contextlib import suppress
from typing import TextIO

import cxrflow.schema.text  # noqa: F401 (it registers the error handler `cxrflow`)
from cxrflow.schema.errors import CxrflowError
from cxrflow.schema.text import visible

_HINTS = {
    errno.ENOSPC: "make room there, or name another place",
    errno.EDQUOT: "make room there, or name another place",
    errno.EACCES: "check who may read and write there, or name another place",
    errno.EPERM: "check who may read and write there, or name another place",
    errno.EROFS: "name another place",
}
_NAMELESS = {
    **dict.fromkeys((errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS), "written"),
    **dict.fromkeys((errno.EIO, errno.EBADF), "read or written"),
}


def make_safe() -> None:
    """Lets stdout and stderr take any text, whatever their encoding.

    Raises:
        CxrflowError: there is no stdout (`>&-`); files opened later would take its place.
    """
    if sys.stderr is None:
        sys.stderr = open(os.devnull, "w")  # noqa: SIM115 (as long as the process)
    if sys.stdout is None:
        raise CxrflowError("the standard output is closed: send it to a file or to /dev/null")
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="cxrflow")
    if isinstance(sys.stdout.buffer, io.RawIOBase):  # PYTHONUNBUFFERED: a full disk goes unnoticed
        sys.stdout = io.TextIOWrapper(
            io.BufferedWriter(sys.stdout.buffer),
            sys.stdout.encoding,
            "cxrflow",
            line_buffering=True,
        )


def say(line: str) -> None:
    """One line on stderr, if it takes one."""
    with suppress(OSError):
        print(visible(line), file=sys.stderr)


def settle() -> None:
    """Drops what can't be written any more, else Python complains about it as it exits."""
    for stream in (sys.stdout, sys.stderr):
        try:
            if stream:
                stream.flush()
        except OSError:
            drop(stream)


def drop(stream: TextIO) -> None:
    """Sends what the stream still holds, and gets, nowhere."""
    with suppress(OSError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def describe(error: OSError) -> str:
    """What the system refused, and where: one line."""
    reason = error.strerror or " ".join(str(error).split()) or type(error).__name__
    hint = _HINTS.get(error.errno or 0)
    name = error.filename2 or error.filename
    if isinstance(name, str | bytes):
        place = os.fsdecode(name)
    elif error.errno in _NAMELESS:  # a file's read or write doesn't say which file
        place = f"a file or the output can't be {_NAMELESS[error.errno]}"
    else:
        place = ""
    return ": ".join(filter(None, (place, reason, hint)))
