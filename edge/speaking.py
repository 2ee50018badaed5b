"""Lines for people, whatever becomes of the streams that they are written to."""

import os
import sys
from typing import Any


def open_standard_streams() -> None:
    """Standard streams that are closed lead nowhere, so that no file gets their numbers.

    Else a runtime's messages would go to the journal that was opened as number 2.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest number that is free
    sys.stdout = sys.stdout or open(os.devnull, "w")  # noqa: SIM115
    sys.stderr = sys.stderr or open(os.devnull, "w")  # noqa: SIM115


def say(text: str, stream: Any = None) -> None:
    """Prints one line; what isn't printable, or what the locale can't write, is escaped.

    A stream that nobody reads any more, or that can't be written, gets nothing from then on: the
    results are in files.
    """
    stream = stream or sys.stdout
    code = stream.encoding or "utf-8"
    line = "".join(one if one.isprintable() else _escaped(one) for one in text)
    try:
        print(line.encode(code, "backslashreplace").decode(code), file=stream, flush=True)
    except OSError as error:
        _silence(stream)
        if not isinstance(error, BrokenPipeError) and stream is sys.stdout:
            say(f"note: standard output can't be written: {error.strerror}", sys.stderr)


def _escaped(one: str) -> str:
    return one.encode("unicode_escape", "surrogatepass").decode("ascii")


def _silence(stream: Any) -> None:
    """Whatever is still to be written to it goes nowhere, also when Python ends."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, stream.fileno())
    os.close(nowhere)
