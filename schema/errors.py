"""The one exception that users see: its text is a line that says what is wrong and what to do."""

import os
from collections.abc import Iterable
from difflib import get_close_matches

from cxrflow.schema.text import visible


class CxrflowError(Exception):
    """Bad input or a failed check. The command line prints the text and exits with code 2."""


def unreadable(path: str | os.PathLike[str], error: OSError) -> CxrflowError:
    """What to raise for a file or folder that the system doesn't give."""
    return CxrflowError(f"{visible(os.fspath(path))} can't be read: {error.strerror or error}")


def did_you_mean(given: str, known: Iterable[str]) -> str:
    """ ", did you mean X?" where a known name is close to the one given; empty otherwise."""
    close = get_close_matches(given, list(known), n=1)
    return f", did you mean {close[0]}?" if close else ""
