"""Logs of one JSON object a line, as readers find them: still being written, or not theirs."""

from collections.abc import Iterator
from pathlib import Path
from typing import TypeVar

from pydantic import TypeAdapter, ValidationError

from cxrflow.schema.errors import CxrflowError, unreadable

T = TypeVar("T")


def parse_line(line: str, kind: TypeAdapter[T]) -> T:
    """A line of a log.

    Raises:
        ValueError: it is none, with the field and what is wrong with it.
    """
    try:
        return kind.validate_json(line)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise ValueError(": ".join(filter(None, (where, first["msg"])))) from None


def read_lines(path: Path, kind: TypeAdapter[T], one: str, log: str) -> Iterator[T]:
    """The lines of a log; a last one that is being written is left out.

    Args:
        path: of the log, in UTF-8.
        kind: of a line.
        one: what a line is called in errors ("decision").
        log: what the log is called ("audit log").

    Raises:
        CxrflowError: it can't be read, or a line isn't one of it.
    """
    try:
        with path.open(encoding="utf-8") as file:
            for number, line in enumerate(file, 1):
                if not line.endswith("\n"):
                    return
                try:
                    found = parse_line(line, kind)
                except ValueError as error:
                    raise CxrflowError(f"{path}, line {number} is no {one}: {error}") from None
                yield found
    except OSError as error:
        raise unreadable(path, error) from None
    except UnicodeDecodeError:
        raise CxrflowError(f"{path} is no {log}: it isn't UTF-8") from None
