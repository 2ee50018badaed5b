"""Which label table is accepted: one authority for ingest on the host and infer.py on the device.

Standard library only, and imports none of its neighbours, so that both can use it.
"""

import csv
import difflib
import errno
import gzip
import io
import os
import re
import stat
import unicodedata
import zlib
from typing import Container, Dict, FrozenSet, Iterable, Iterator, List, NamedTuple, Sequence, Tuple

IMAGE, FINDINGS = "Image Index", "Finding Labels"
NO_FINDING = "No Finding"
SUFFIXES = (".png", ".jpg", ".jpeg")
MAX_BYTES = 1 << 28  # of a table or list; NIH's table of 112,120 images has 8 MB
_WHAT = "a comma-separated table"
_HEAD = 100_000  # characters in which a header is looked for
_SHOWN = 60  # characters of a value in a message
_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f]")
_BREAK = re.compile("\r\n|\r|\n")
_SEPARATORS = {";": "semicolons", "\t": "tabs", "|": "vertical bars", ":": "colons", " ": "spaces"}
_FOREIGN = (
    (b"PK\x03\x04", "is a ZIP archive or an Excel file"),
    (b"\xd0\xcf\x11\xe0", "is an old Excel file"),
    (b"\x1f\x8b", "is compressed with gzip"),
    (b"\xff\xfe", "is text in UTF-16"),
    (b"\xfe\xff", "is text in UTF-16"),
)


class BadTable(ValueError):
    """A file that is no table at all; its text is one line that says what is wrong."""


class BadValue(ValueError):
    """A value that keeps its row out; `reason` is a word that reports count."""

    def __init__(self, reason: str, detail: str):
        super().__init__(detail)
        self.reason = reason


class Row(NamedTuple):
    """A row that is not blank."""

    line: int  # where it begins, as an editor counts: the first line of the file is 1
    values: Tuple[str, ...]  # of the columns asked for, without outer spaces
    fault: str  # why the values can't be told apart, "" if they can


def read_text(path: str, what: str = "text", unpack: bool = False) -> str:
    """The text of a regular file in UTF-8, line breaks as they are, without a byte order mark.

    Args:
        path: of the file.
        what: what it should be, for the message.
        unpack: whether it may be compressed with gzip.

    Raises:
        BadTable: it is missing, a folder or a device, unreadable, empty, too large, or no text.
    """
    name = shown(path, len(path))
    try:
        status = os.stat(path)
        if stat.S_ISDIR(status.st_mode):
            raise BadTable(f"{name} is a folder, not a file")
        if not stat.S_ISREG(status.st_mode):
            raise BadTable(f"{name} is a pipe or a device, not a file")
        if status.st_size > MAX_BYTES:
            raise BadTable(f"{name} has {status.st_size:,} bytes, a table at most {MAX_BYTES:,}")
        with open(path, "rb") as file:
            data = file.read(MAX_BYTES)
    except OSError as error:
        why = error.strerror or str(error)
        if error.errno == errno.ENOENT and os.path.islink(path):
            why = "it is a link to a file that isn't there"
        raise BadTable(f"{name} can't be read: {why}") from None
    if unpack and data.startswith(b"\x1f\x8b"):
        try:
            data = gzip.GzipFile(fileobj=io.BytesIO(data)).read(MAX_BYTES)
        except (OSError, EOFError, zlib.error):
            raise BadTable(f"{name} is damaged: it doesn't unpack") from None
    for start, found in _FOREIGN:
        if data.startswith(start):
            raise BadTable(f"{name} {found}, not {what} in UTF-8")
    if not data.strip(b"\xef\xbb\xbf\r\n\t "):
        raise BadTable(f"{name} is empty")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = _line_of(data[: error.start].decode("utf-8", "replace"))
        byte = data[error.start]
        raise BadTable(f"{name} is not {what} in UTF-8: line {line}: byte 0x{byte:02x}") from None
    if "\0" in text:
        line = _line_of(text[: text.index("\0")])
        raise BadTable(f"{name} is not {what} in UTF-8: line {line}: a zero byte")
    return text


def read_names(path: str) -> List[str]:
    """A file with an image's name a line, as NIH's split lists: the names as `same_name` has them.

    Raises:
        BadTable: see `read_text`.
    """
    names = (same_name(line) for line in _BREAK.split(read_text(path)))
    return [name for name in names if name]


def records(text: str, name: str) -> Iterator[Tuple[int, int, List[str]]]:
    """First line, last line and values of every record, blank ones too; lines count from 1.

    Args:
        text: of `read_text`.
        name: of the file, for messages.

    Raises:
        BadTable: quotes are wrong, or a value is longer than csv's limit.
    """
    # StringIO with newline="" breaks lines where an editor does, and csv counts them.
    reader = csv.reader(io.StringIO(text, newline=""), strict=True, skipinitialspace=True)
    while True:
        line = reader.line_num + 1
        try:
            values = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            if "end of data" in str(error):
                why = "a quote is opened and not closed"
            elif "limit" in str(error):
                why = f"a value is longer than {csv.field_size_limit():,} characters"
            else:
                why = "text follows a closing quote (a quote within a value is written twice)"
            raise BadTable(f"{name} is not {_WHAT}: line {line}: {why}") from None
        yield line, reader.line_num, values


def read_rows(path: str, columns: Sequence[str], aliases: Dict[str, str]) -> List[Row]:
    """The rows of a comma-separated table with a header.

    Rows may have fewer or more values than the header as long as the columns asked for are there
    and what is too much is blank: Kaggle's tables end some lines with a comma.

    Args:
        path: of the table.
        columns: names of the columns to read.
        aliases: other name of a column -> its name in `columns`.

    Raises:
        BadTable: it can't be read, has no rows, lacks a column or has it twice, isn't separated by
            commas, or a quote is left open.
    """
    name = shown(path, len(path))
    text = read_text(path, _WHAT)
    filled = (
        (line, end, values)
        for line, end, values in records(text, name)
        if any(value.strip() for value in values)
    )
    try:
        line, _, header = next(filled, (0, 0, []))
        if not header:
            raise BadTable(f"{name} is empty")
        places = _places(name, line, header, columns, aliases)
    except BadTable:
        separator = _separator(text[:_HEAD], columns)
        if separator:
            wrong = f"{name} separates its columns by {separator}; save it with commas"
            raise BadTable(wrong) from None
        raise
    rows = []
    once = {}  # type: Dict[str, str]  # each value -> its one object
    for line, end, values in filled:
        if end > line:
            _refuse_open_quote(name, line, end, values, [places[c] for c in columns], len(header))
        fault = _fault(values, len(header), max(places.values()))
        stripped = (
            values[places[column]].strip() if places[column] < len(values) else ""
            for column in columns
        )
        rows.append(Row(line, tuple(once.setdefault(value, value) for value in stripped), fault))
    if not rows:
        raise BadTable(f"{name} has a header but no rows")
    return rows


def same_name(text: str) -> str:
    """The form in which the names of images in tables, lists and folders are compared.

    Outer spaces don't count, nor whether an accented letter is one character or two (files that
    come from a Mac have two).
    """
    return unicodedata.normalize("NFC", text.replace("\ufeff", "").strip())


def image_name(text: str) -> str:
    """The name of an image as a table gives it, in the form of `same_name`.

    Raises:
        BadValue: it has a folder, no suffix of PNG or JPEG, or control characters.
    """
    name = same_name(text)
    if not name.lower().endswith(SUFFIXES) or name[0] == "." or re.search(r"[/\\]", name):
        raise BadValue(
            "bad_image_name",
            f"'{shown(name)}' is not the name of a PNG or JPEG file "
            "(with its suffix, without a folder)",
        )
    if _CONTROL.search(name):
        raise BadValue("bad_image_name", f"'{shown(name)}' has control characters")
    return name


def findings(text: str, known: Container[str]) -> FrozenSet[str]:
    """The findings that "A|B" names, none for "No Finding".

    Raises:
        BadValue: one isn't in `known`, there is none, or No Finding stands beside others.
    """
    names = {name.strip() for name in text.split("|")}
    unknown = sorted(name for name in names if name != NO_FINDING and name not in known)
    if unknown:
        if text.strip():
            detail = "{} is not a finding".format(shown(", ".join(n or "''" for n in unknown)))
        else:
            detail = "no finding given"
        raise BadValue("unknown_finding", f"{detail}; a normal image says {NO_FINDING}")
    if NO_FINDING in names and len(names) > 1:
        raise BadValue("finding_conflict", f"{shown(text)} contradicts itself")
    return frozenset(names - {NO_FINDING})


def repeats(rows: Iterable[Tuple[int, str, object]]) -> Dict[int, str]:
    """Which rows to set aside because another names the same image, and why.

    Of rows that are alike, the first stays; of rows that differ, none.

    Args:
        rows: line, name of the image, and what the row says of it.
    """
    lines = {}  # type: Dict[str, List[Tuple[int, object]]]
    for line, name, said in rows:
        lines.setdefault(name, []).append((line, said))
    aside = {}
    for same in lines.values():
        first = same[0]
        if all(said == first[1] for _, said in same[1:]):
            aside.update({line: f"repeats row {first[0]}" for line, _ in same[1:]})
        else:
            all_lines = shown(", ".join(str(line) for line, _ in same))
            detail = f"rows {all_lines} differ for this image"
            aside.update({line: detail for line, _ in same})
    return aside


def shown(text: str, most: int = _SHOWN) -> str:
    """A text for a message: on one line, encodable, not longer than `most` characters or so."""
    cut = text if len(text) <= most else text[:most] + "..."
    return "".join(c if c.isprintable() else _escaped(c) for c in cut)


def _escaped(c: str) -> str:
    if "\udc80" <= c <= "\udcff":  # Python's stand-in for a byte that isn't UTF-8
        return f"\\x{ord(c) - 0xDC00:02x}"
    return c.encode("unicode_escape").decode("ascii")


def _places(
    name: str,
    line: int,
    header: List[str],
    columns: Sequence[str],
    aliases: Dict[str, str],
) -> Dict[str, int]:
    """Where the columns stand in the header."""
    given = [same_name(title) for title in header]
    places = {}
    for column in columns:
        found = [i for i, title in enumerate(given) if aliases.get(title, title) == column]
        if len(found) > 1:
            titles = " and ".join(f"'{given[i]}'" for i in found)
            raise BadTable(
                "{} has the column{} {}; keep one of them".format(
                    name, " twice:" if given[found[0]] == given[found[1]] else "s", titles
                )
            )
        if found:
            places[column] = found[0]
    missing = [column for column in columns if column not in places]
    if missing:
        others = [title for i, title in enumerate(given) if i not in places.values()]
        raise BadTable(
            "{} lacks the column{} {}{}; the header is line {}, and the table of NIH ChestX-ray14 "
            "has {}".format(
                name,
                "s" * (len(missing) > 1),
                ", ".join(missing),
                _similar(missing, others),
                line,
                ", ".join(columns),
            )
        )
    return places


def _similar(missing: Sequence[str], titles: Sequence[str]) -> str:
    """Which titles may be misspelt names of columns, for a message; they may look the same."""
    lower = {title.lower(): title for title in titles}
    found = [difflib.get_close_matches(name.lower(), lower, 1, 0.8) for name in missing]
    names = [f"'{shown(lower[one])}'" for close in found for one in close]
    return " (it has {})".format(", ".join(dict.fromkeys(names))) if names else ""


def _separator(head: str, columns: Sequence[str]) -> str:
    """What stands between columns in a file's first lines, in words; "" for commas or nothing."""
    for line in _BREAK.split(head):
        if sum(column in line for column in columns) < 2:
            continue
        for column in columns:
            after = re.search(re.escape(column) + r"[\"']?(\s*[^\w\s\"']+\s*|\s+)[\"']?\S", line)
            sign = (after.group(1).strip() or after.group(1)[0]) if after else ","
            if sign != ",":
                return _SEPARATORS.get(sign, f"'{shown(sign)}'")
    return ""


def _fault(values: List[str], columns: int, last: int) -> str:
    """Why the values of a row can't be told apart, "" if they can."""
    if len(values) > columns and any(value.strip() for value in values[columns:]):
        return f"{len(values)} values, the header has {columns}: quote a value that has a comma"
    if len(values) <= last:
        signs = [what for sign, what in _SEPARATORS.items() if values[0].count(sign) >= last > 0]
        return "{} value{}, the header has {}{}".format(
            len(values),
            "s" * (len(values) > 1),
            columns,
            f": separated by {signs[0]}?" if signs else "",
        )
    return ""


def _refuse_open_quote(
    name: str, line: int, end: int, values: List[str], read: List[int], columns: int
) -> None:
    """Refuses a quote that was left open and has swallowed the rows up to the next one.

    A remark may have line breaks; an image's name, its findings and so on have none.
    """
    for i, value in enumerate(values):
        whole_row = any(part.count(",") >= columns - 1 > 0 for part in _BREAK.split(value)[1:-1])
        if whole_row or (i in read and _BREAK.search(value.strip())):
            raise BadTable(
                f"{name}, line {line}: a value goes on to line {end}; is a quote left open?"
            )


def _line_of(before: str) -> int:
    return len(_BREAK.findall(before)) + 1
