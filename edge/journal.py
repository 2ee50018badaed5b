"""Lines of results.jsonl: each a row with a checksum of its own, so that damage costs that row."""

import json
import re
import zlib
from typing import Any, BinaryIO, Dict, Iterator, NamedTuple, Optional

_MOST = 1 << 20  # bytes of a line; what is longer was never written here
_CHECKSUM = re.compile(rb', "crc32": "([0-9a-f]{8})"\}\n\Z')


class Line(NamedTuple):
    """A line of a journal, and its row if it is whole."""

    start: int  # bytes into the file
    size: int  # bytes
    row: Optional[Dict[str, Any]]


def to_line(row: Dict[str, Any]) -> bytes:
    """A row, of finite numbers, as a line of ASCII."""
    body = json.dumps(row, allow_nan=False).encode("ascii")
    return body[:-1] + b', "crc32": "%08x"}\n' % zlib.crc32(body)


def to_row(line: bytes) -> Optional[Dict[str, Any]]:
    """The row of a line; None if a byte of it isn't as it was written."""
    found = _CHECKSUM.search(line)
    if not found:
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
    """All lines of a journal from its begin, the damaged ones too."""
    file.seek(0)
    start = 0
    while True:
        line = file.readline(_MOST)
        if not line:
            return
        yield Line(start, len(line), to_row(line))
        start += len(line)
