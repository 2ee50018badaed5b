"""A half-written output of `cxrflow predict`, which another run goes on with.

Whole rows with answers stay as they are. What stands behind the last whole row is cut off, and
rows of failures go, since their files are asked again. Nothing is rewritten in place: without
failures the file is cut and appended to, with them a copy takes its place in one step.
"""

import csv
import errno
import io
import json
import os
import shutil
import stat
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

from cxrflow.schema.errors import CxrflowError
from cxrflow.schema.portable.writing import lock
from cxrflow.serving.client.output import LEADING, TRAILING, csv_header

RESUMABLE = {".csv": "csv", ".jsonl": "jsonl", ".ndjson": "jsonl"}
_JSON_START = b'{"file": "'


@dataclass(frozen=True)
class _Row:
    """A whole row of the file."""

    data: bytes  # with its end of line
    file: str  # as `written` gives it
    model: str = ""  # that answered
    version: int = -1  # -1 for a failure
    attention: bool = False


@dataclass(frozen=True)
class Before:
    """What a file holds already."""

    answered: frozenset[str] = frozenset()  # files, as `written` gives them; empty: no more is said
    model: str = ""  # of the last answer
    version: int = -1
    attention: bool = False
    classes: tuple[str, ...] | None = None  # of the CSV's columns; None where no answer gave them
    kept: bytes = b""  # header and rows of answers
    in_place: bool = True  # whether the file begins with just that


def form_of(path: Path) -> str:
    """The format of a file's name.

    Raises:
        CxrflowError: it is neither CSV nor JSON Lines.
    """
    if form := RESUMABLE.get(path.suffix.lower()):
        return form
    raise CxrflowError(f"--resume {path}: name it .csv or .jsonl, or give --format csv or jsonl")


def read_before(data: bytes, form: str, path: Path) -> Before:
    """Understands what is in the file.

    Args:
        data: all of it.
        form: csv or jsonl.
        path: for messages.

    Raises:
        CxrflowError: it is no output of `cxrflow predict` in this format.
    """
    if not data:
        return Before()
    foreign = CxrflowError(
        f"--resume {path}: it is no output of `cxrflow predict --format {form}`; it is left as it "
        "is: name another file"
    )
    try:
        return (_before_csv if form == "csv" else _before_json)(data)
    except (ValueError, KeyError, TypeError, AttributeError):
        raise foreign from None


@contextmanager
def opened(path: Path) -> Iterator[tuple[bytes, Callable[[Before], TextIO]]]:
    """Opens a file, or makes one, and keeps other runs from it.

    Yields:
        What it holds, and a function that leaves what is to be kept and gives the file to append
        to. Until it is called, nothing is changed.

    Raises:
        CxrflowError: it is no regular file, can't be opened, or another run writes it.
    """
    real = Path(os.path.realpath(path))  # a link stays one
    handles: list[int] = []
    made: list[TextIO] = []
    try:
        handles.append(os.open(real, os.O_RDWR | os.O_CREAT | os.O_NONBLOCK, 0o666))
        if not stat.S_ISREG(os.fstat(handles[0]).st_mode):
            raise CxrflowError(f"--resume {path}: it is no regular file")
        lock(handles[0])
        if not os.path.samestat(os.fstat(handles[0]), os.stat(real)):
            raise BlockingIOError(errno.EWOULDBLOCK, "")  # replaced by a run that ended just now
        with open(handles[0], "rb", closefd=False) as there:
            data = there.read()

        def begin(before: Before) -> TextIO:
            if before.in_place:
                os.ftruncate(handles[0], len(before.kept))
            else:
                handles.append(_replace(real, before.kept))
            file = open(handles[-1], "a", encoding="utf-8", newline="", closefd=False)  # noqa: SIM115
            made.append(file)
            return file

        yield data, begin
    except BlockingIOError:
        raise CxrflowError(f"--resume {path}: another run writes it") from None
    finally:
        for file in made:
            with suppress(OSError):  # a full disk was told already
                file.close()
        for handle in handles:
            os.close(handle)


def _replace(real: Path, kept: bytes) -> int:
    """Puts a new file in the place of one, whole or not at all; returns it open and locked."""
    aside = real.with_name(f".{real.name}.resume")
    handle = os.open(aside, os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o666)
    try:
        lock(handle)
        with open(handle, "wb", closefd=False) as file:
            file.write(kept)
        os.fsync(handle)
        shutil.copymode(real, aside)
        aside.replace(real)
    except BaseException:
        os.close(handle)
        with suppress(OSError):
            aside.unlink()
        raise
    return handle


def _before_csv(data: bytes) -> Before:
    header, *lines = _csv_rows(data) or [b""]
    if not header:
        start = ",".join(LEADING).encode() + b","
        if not (start.startswith(data) or data.startswith(start)):
            raise ValueError("another file's start")
        return Before()
    columns = _csv_values(header)
    names = columns[len(LEADING) : -len(TRAILING) : 3]
    if header.decode() != csv_header(names):
        raise ValueError("other columns")
    rows = []
    for line in lines:
        values = _csv_values(line)
        if len(values) != len(columns):
            raise ValueError("a row of another length")
        file, model, version = values[: len(LEADING)]
        rows.append(_Row(line, file, model, int(version)) if version else _Row(line, file))
    return _before(rows, header, tuple(names))


def _csv_rows(data: bytes) -> list[bytes]:
    """The whole rows. A line end between quotes is part of a file's name."""
    rows, start = [], 0
    for end in _ends(data):
        if data.count(b'"', start, end) % 2 == 0:
            rows.append(data[start:end])
            start = end
    return rows


def _csv_values(row: bytes) -> list[str]:
    (values,) = csv.reader(io.StringIO(row.decode(), newline=""), strict=True)
    return values


def _before_json(data: bytes) -> Before:
    ends = list(_ends(data))
    lines = [data[start:end] for start, end in zip([0, *ends], ends, strict=False)]
    if not lines and not (_JSON_START.startswith(data) or data.startswith(_JSON_START)):
        raise ValueError("another file's start")
    rows = []
    for line in lines:
        result: dict[str, Any] = json.loads(line)
        if not isinstance(result["file"], str):
            raise TypeError("no file's name")
        if "error" in result:
            rows.append(_Row(line, result["file"]))
            continue
        model, version, _ = result["model"], int(result["version"]), result["findings"]
        rows.append(_Row(line, result["file"], model, version, "attention" in result))
    return _before(rows, b"")


def _before(rows: Sequence[_Row], header: bytes, classes: tuple[str, ...] | None = None) -> Before:
    answered = [row for row in rows if row.version >= 0]
    if not answered:
        return Before()
    last = answered[-1]
    return Before(
        frozenset(row.file for row in answered),
        last.model,
        last.version,
        last.attention,
        classes,
        header + b"".join(row.data for row in answered),
        # So is a file whose only failures stand at its end.
        in_place=list(rows[: len(answered)]) == answered,
    )


def _ends(data: bytes) -> Iterator[int]:
    """Where each line ends, its newline included."""
    end = data.find(b"\n") + 1
    while end:
        yield end
        end = data.find(b"\n", end) + 1
