"""A description's rows: its tables one after the other, with the columns of those that it joins."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from cxrflow.components.ingest.quarantine import Reason
from cxrflow.components.ingest.source.dicoms import PREFIX
from cxrflow.components.ingest.source.files import Sheet, find_tables, read_sheet
from cxrflow.components.ingest.source.labels import LabelReader
from cxrflow.components.ingest.source.settings import DataConfig, JoinConfig
from cxrflow.components.ingest.source.spelling import canonical
from cxrflow.schema.errors import CxrflowError, did_you_mean
from cxrflow.schema.portable.label_table import shown

PLACE = re.compile(r"\{([^{}:]+)(?::([0-9]+))?\}")  # in `images.path`: a column, its beginning
_FIELDS = ("image", "patient", "study", "age", "born", "examined", "sex", "view", "follow_up")


@dataclass
class SourceRow:
    """A row, and why it stays out of the run, if it does."""

    file: str
    line: int
    values: dict[str, str]
    split: str = ""
    reason: str = ""
    detail: str = ""


def read_rows(folder: Path, data: DataConfig) -> list[SourceRow]:
    """All rows of the description's tables.

    Raises:
        CxrflowError: a file isn't there or can't be read, or lacks a column.
    """
    needed = _needed(data)
    labels = LabelReader(data.labels)
    secret = bool(data.pseudonym_key)
    joins = [_read_join(folder, join, needed, labels, secret) for join in data.joins]
    joined = {name for _, sheet, _ in joins for name in sheet.columns}
    rows = []
    for table in data.tables:
        for path in find_tables(folder, table.file):
            sheet = read_sheet(path, [*needed, *labels.columns, *_keys(data)])
            _require(sheet, [*needed, *_keys(data)], joined)
            _require_labels(sheet, data, joined)
            rows += _rows(sheet, table.split)
    for join, _, partners in joins:
        for row in rows:
            _join(row, join, partners)
    return rows


def table_paths(folder: Path, data: DataConfig) -> list[Path]:
    """The files that a description reads rows, joined columns and lists from."""
    patterns = [table.file for table in data.tables] + [join.file for join in data.joins]
    patterns += data.splits.lists.values()
    return [path for pattern in patterns for path in find_tables(folder, pattern)]


def _rows(sheet: Sheet, split: str) -> list[SourceRow]:
    good = [SourceRow(sheet.name, line, values, split) for line, values in sheet.rows]
    bad = [
        SourceRow(sheet.name, line, {}, split, Reason.BAD_ROW.value, fault)
        for line, fault in sheet.faults.items()
    ]
    return sorted(good + bad, key=lambda row: row.line)


def _needed(data: DataConfig) -> list[str]:
    """Columns that the description names, but for those of labels and DICOM headers."""
    columns = [getattr(data.columns, field) for field in _FIELDS]
    columns += [match[1] for match in PLACE.finditer(data.images.path)]
    columns += [data.splits.column, *data.slices.values()]
    return list(dict.fromkeys(c for c in columns if c and not c.startswith(PREFIX)))


def _keys(data: DataConfig) -> list[str]:
    return list(dict.fromkeys(column for join in data.joins for column in join.by))


def _require(sheet: Sheet, columns: Sequence[str], elsewhere: Iterable[str]) -> None:
    """Refuses a table that lacks a column which no joined table has either."""
    known = {*sheet.columns, *elsewhere}
    if missing := [column for column in columns if column not in known]:
        others = [name for name in sheet.columns if name]
        hint = did_you_mean(missing[0], others)
        raise CxrflowError(
            f"{sheet.name} has no column {', '.join(map(repr, missing))}{hint}: the description "
            f"names it; the table has {shown(', '.join(others), 300)}"
        )


def _require_labels(sheet: Sheet, data: DataConfig, elsewhere: Iterable[str]) -> None:
    """Refuses a table in which a class has no column; of several, one is enough."""
    if data.labels.column:
        _require(sheet, [data.labels.column], elsewhere)
        return
    known = {*sheet.columns, *elsewhere}
    for name in data.labels.names:
        columns = [column for column, one in data.labels.classes.items() if one == name]
        if known.isdisjoint(columns):
            _require(sheet, columns[:1], elsewhere)


def _read_join(
    folder: Path, join: JoinConfig, needed: Sequence[str], labels: LabelReader, secret: bool
) -> tuple[JoinConfig, Sheet, dict[tuple[str, ...], dict[str, str]]]:
    """A file's rows by their values of `on`."""
    partners: dict[tuple[str, ...], dict[str, str]] = {}
    for path in find_tables(folder, join.file):
        sheet = read_sheet(path, [*join.by, *needed, *labels.columns])
        _require(sheet, join.by, ())
        for line, values in sheet.rows:
            key = _key(values, join)
            if partners.get(key, values) != values:
                said = "" if secret else f" {shown(', '.join(key))}"  # it may name a patient
                raise CxrflowError(
                    f"{sheet.name} line {line}: another row of its {', '.join(join.by)}{said} "
                    "says something else"
                )
            partners[key] = values
    return join, sheet, partners


def _join(
    row: SourceRow, join: JoinConfig, partners: dict[tuple[str, ...], dict[str, str]]
) -> None:
    if row.reason:
        return
    found = partners.get(_key(row.values, join))
    if found is None:
        row.reason = Reason.NO_PARTNER.value
        row.detail = f"{join.file} has no row of its {', '.join(join.by)}"
    else:
        row.values = {**found, **row.values}


def _key(values: dict[str, str], join: JoinConfig) -> tuple[str, ...]:
    return tuple(canonical(values[column]) for column in join.by)
