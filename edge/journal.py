"""Lines of results.jsonl: each a row with a checksum of its own, so that damage costs that row."""

import json
import re
import zlib
from typing import Any, BinaryIO, Dict, Iterator, NamedTuple, Optional

_MOST = 1 << 20  # bytes of a line; what is longer was never written here
_CHECKSUM = re.compile(rb', "crc32": "([0-9a-f]{8})"\}')
_START = b'{"file": "'  # of a row, and nowhere within one: quotes in a text are escaped


class Line(NamedTuple):
    """A row of a journal and where it stands; or where something stands that is none."""

    start: int  # bytes into the file
    size: int  # bytes, without the line break
    row: Optional[Dict[str, Any]]


def to_line(row: Dict[str, Any]) -> bytes:
    """A row, of finite numbers, as a line of ASCII. Its first key is `file`."""
    body = json.dumps(row, allow_nan=False).encode("ascii")
    return body[:-1] + b', "crc32": "%08x"}\n' % zlib.crc32(body)


def to_row(line: bytes) -> Optional[Dict[str, Any]]:
    """The row of a line without its break; None if a byte of it isn't as it was written."""
    found = _CHECKSUM.search(line)
    if not found or found.end() != len(line):
        return None
    body = line[: found.start()] + b"}"
    if zlib.crc32(body) != int(found.group(1), 16):
        return None
    try:
        row = json.loads(body.decode("ascii"))
    except ValueError:
        return None
    return row if isinstance(row, dict) and isinstance(row.get("file"), str) else None


def read_lines(file: BinaryIO) -> Iterator[Line]:
    """All rows of a journal from its begin, and what is damaged.

    A row whose line break is damaged is a row still, and so is the one after it.
    """
    file.seek(0)
    start = 0
    while True:
        line = file.readline(_MOST)
        if not line:
            return
        row = to_row(line[:-1]) if line.endswith(b"\n") else None
        yield Line(start, len(line) - 1, row)
        if row is None:
            yield from _rows_within(line, start)
        start += len(line)


def _rows_within(line: bytes, start: int) -> Iterator[Line]:
    """The whole rows in a line that is none."""
    end = 0
    while True:
        begin = line.find(_START, end)
        found = _CHECKSUM.search(line, begin) if begin >= 0 else None
        if not found:
            return
        # Of two begins before one checksum, the last is the row's.
        begin = line.rfind(_START, begin, found.start())
        end = found.end()
        row = to_row(line[begin:end])
        if row is not None:
            yield Line(start + begin, end - begin, row)
