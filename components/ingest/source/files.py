"""Reads a table's file as text values: CSV and TSV as people's programs write them, and Parquet."""

import contextlib
import csv
import fnmatch
import gzip
import io
import os
import re
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cxrflow.components.ingest.source.spelling import composed
from cxrflow.schema.errors import CxrflowError, did_you_mean
from cxrflow.schema.portable.label_table import shown

MAX_BYTES = 1 << 30  # of a table, unpacked; MIMIC-CXR's largest has 60 MB
TABLE_SUFFIXES = (".csv", ".tsv", ".txt", ".csv.gz", ".tsv.gz", ".parquet")
_SEPARATORS = ",;\t|"
_HEAD = 1 << 20  # characters in which the header is looked for
_EXCELS = re.compile(r"sep=(.)[^\S\r\n]*(?:\r\n?|\n)", re.IGNORECASE)  # its line of the separator
_FOREIGN = (
    (b"PK\x03\x04", "is an Excel file or a ZIP archive: save it as CSV"),
    (b"\xd0\xcf\x11\xe0", "is an old Excel file: save it as CSV"),
)


@dataclass(frozen=True)
class Sheet:
    """A table as text, in Unicode's composed form (NFC)."""

    name: str  # of the file, for messages
    columns: tuple[str, ...]
    rows: list[tuple[int, dict[str, str]]]  # where each begins (a line, or a row of Parquet)
    faults: dict[int, str]  # line -> why its values can't be told apart; not among `rows`
    how: str  # encoding and separator, in words


def find_tables(folder: Path, pattern: str) -> list[Path]:
    """The files that a description's `file` means.

    Raises:
        CxrflowError: there is none, or the path leads out of the folder.
    """
    if os.path.isabs(pattern) or ".." in Path(pattern).parts:
        raise CxrflowError(f"data: file {pattern!r} must lie in the data folder")
    found = sorted(path for path in folder.glob(pattern) if path.is_file())
    if found:
        return found
    beside = sorted(p.name for p in folder.glob(f"{Path(pattern).parent}/*") if is_table(p))
    hint = did_you_mean(Path(pattern).name, beside)
    if not hint and beside:
        hint = f"; there are {shown(', '.join(beside), 200)}"
    raise CxrflowError(f"{folder} has no {pattern}{hint}")


def is_table(path: Path) -> bool:
    """Whether a file's name is a table's."""
    return path.name.lower().endswith(TABLE_SUFFIXES) and not path.name.startswith(".")


def read_sheet(path: Path, wanted: Sequence[str] | None = None) -> Sheet:
    """Reads a table; encoding and separator are found out.

    UTF-8, UTF-16 (with its mark) and Windows-1252, which Excel writes in Europe; commas,
    semicolons, tabs or vertical bars, whatever splits the header most, or what Excel's line
    `sep=;` says.

    Args:
        path: of the file.
        wanted: columns to keep; None keeps all.

    Raises:
        CxrflowError: it can't be read, is no table, has no rows, or has a column of `wanted` twice.
    """
    if fnmatch.fnmatch(path.name.lower(), "*.parquet"):
        return _read_parquet(path, wanted)
    text, encoding = _decode(path)
    separator, skipped = "", 0
    if said := _EXCELS.match(text):
        separator, text, skipped = said[1], text[said.end() :], 1
    separator = separator or _separator(text[:_HEAD])
    rows: list[tuple[int, dict[str, str]]] = []
    faults: dict[int, str] = {}
    header: list[str] = []
    for line, values in _records(text, separator, path):
        if not header:
            header = [_title(value) for value in values]
            places = _places(path, header, wanted)
            continue
        too_many = any(value.strip() for value in values[len(header) :])
        if too_many or len(values) <= max(places.values(), default=0):
            faults[line + skipped] = f"{len(values)} values, the header has {len(header)}"
        else:
            row = {name: values[at].strip() for name, at in places.items()}
            rows.append((line + skipped, row))
    if not rows and not faults:
        raise CxrflowError(f"{path} has {'a header but ' if header else ''}no rows")
    words = {",": "commas", ";": "semicolons", "\t": "tabs", "|": "vertical bars"}
    how = f"{encoding}, {words.get(separator, separator)}"
    return Sheet(path.name, tuple(header), rows, faults, how)


def _records(text: str, separator: str, path: Path) -> Iterator[tuple[int, list[str]]]:
    """Where each record begins, from 1, and its values; blank ones are left out."""
    reader = csv.reader(
        io.StringIO(text, newline=""), delimiter=separator, skipinitialspace=True, strict=True
    )
    while True:
        line = reader.line_num + 1
        try:
            values = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            raise CxrflowError(f"{path} is no table: line {line}: {error}") from None
        if any(value.strip() for value in values):
            yield line, values


def _decode(path: Path) -> tuple[str, str]:
    try:
        size = path.stat().st_size
        if size > MAX_BYTES:
            raise CxrflowError(f"{path} has {size:,} bytes, a table at most {MAX_BYTES:,}")
        data = path.read_bytes()
        if data.startswith(b"\x1f\x8b"):
            with gzip.GzipFile(fileobj=io.BytesIO(data)) as packed:
                data = packed.read(MAX_BYTES + 1)
            if len(data) > MAX_BYTES:
                raise CxrflowError(f"{path} unpacks to more than {MAX_BYTES:,} bytes")
    except (OSError, EOFError, zlib.error) as error:
        raise CxrflowError(f"{path} can't be read: {error}") from None
    for start, what in _FOREIGN:
        if data.startswith(start):
            raise CxrflowError(f"{path} {what}")
    if not data.strip():
        raise CxrflowError(f"{path} is empty")
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        encodings = [("utf-16", "UTF-16")]
    else:
        encodings = [("utf-8-sig", "UTF-8"), ("cp1252", "Windows-1252")]
    for encoding, name in encodings:
        try:
            text = data.decode(encoding)
        except UnicodeDecodeError:
            continue
        if "\0" in text:
            break
        return composed(text), name
    raise CxrflowError(f"{path} is no text: save it as CSV in UTF-8")


def _separator(head: str) -> str:
    """What splits the header into most parts; a table of one column has none of them."""
    counts = {sign: _columns(head, sign) for sign in _SEPARATORS}
    return max(_SEPARATORS, key=lambda sign: counts[sign])


def _columns(head: str, separator: str) -> int:
    """Into how many parts the header falls; its names may have line breaks in quotes."""
    reader = csv.reader(io.StringIO(head, newline=""), delimiter=separator, skipinitialspace=True)
    with contextlib.suppress(csv.Error):
        return next((len(each) for each in reader if any(map(str.strip, each))), 0)
    return 0


def _title(value: str) -> str:
    return composed(value.replace("\ufeff", "").strip())


def _places(path: Path, header: list[str], wanted: Sequence[str] | None) -> dict[str, int]:
    """Where the columns stand that are there."""
    names = header if wanted is None else [name for name in wanted if name in header]
    for name in names:
        if name and header.count(name) > 1:
            raise CxrflowError(f"{path} has the column {shown(name)!r} twice; keep one of them")
    return {name: header.index(name) for name in names if name}


def _read_parquet(path: Path, wanted: Sequence[str] | None) -> Sheet:
    import pyarrow
    import pyarrow.parquet as parquet

    try:
        written = parquet.read_schema(path).names
        columns = [_title(name) for name in written]
        keep = {name: written[at] for name, at in _places(path, columns, wanted).items()}
        table = parquet.read_table(path, columns=list(keep.values()))
    except (OSError, pyarrow.ArrowException) as error:
        reason = str(error).splitlines()[0][:200]
        raise CxrflowError(f"{path} can't be read as Parquet: {reason}") from None
    if not table.num_rows:
        raise CxrflowError(f"{path} has no rows")
    texts = {name: [_text(v) for v in table[there].to_pylist()] for name, there in keep.items()}
    rows = [(i + 1, {name: texts[name][i] for name in keep}) for i in range(table.num_rows)]
    return Sheet(path.name, tuple(columns), rows, {}, "Parquet")


def _text(value: Any) -> str:
    """A Parquet value as a CSV would have it."""
    if value is None or value != value:  # NaN
        return ""
    if isinstance(value, bool):
        return str(int(value))
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    if isinstance(value, (list, tuple)):
        return "|".join(map(_text, value))
    return composed(str(value).strip())
