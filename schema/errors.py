"""The one exception that users see: its text is a line that says what is wrong and what to do."""

import os
from collections.abc import Iterable, Iterator
from difflib import get_close_matches

from cxrflow.schema.text import visible


class CxrflowError(Exception):
    """Bad input or a failed check. The command line prints the text and exits with code 2."""


def causes(error: BaseException | None) -> Iterator[BaseException]:
    """An exception and what it stems from, each once: they may be a ring."""
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        error = error.__cause__ or error.__context__


def unreadable(path: str | os.PathLike[str], error: OSError) -> CxrflowError:
    """What to raise for a file or folder that the system doesn't give."""
    return CxrflowError(f"{visible(os.fspath(path))} can't be read: {error.strerror or error}")


def did_you_mean(given: str, known: Iterable[str]) -> str:
    """ ", did you mean X?" where a known name is close to the one given; empty otherwise."""
    close = get_close_matches(given, list(known), n=1)
    return f", did you mean {close[0]}?" if close else ""
