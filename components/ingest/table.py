"""The label table, Kaggle's two variants: typed rows, and the rows that cannot be used."""

import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import compress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cxrflow.components.ingest.quarantine import Problem, Reason
from cxrflow.schema.classes import CLASSES_14
from cxrflow.schema.errors import CxrflowError
from cxrflow.schema.patients import identity
from cxrflow.schema.portable.label_table import (
    FINDINGS,
    IMAGE,
    BadTable,
    BadValue,
    Row,
    findings,
    image_name,
    read_rows,
    repeats,
    shown,
)

if TYPE_CHECKING:
    import pandas as pd

# The columns that are read; sizes and pixel spacings of the film before NIH made PNGs are not.
COLUMNS = (
    IMAGE,
    FINDINGS,
    "Follow-up #",
    "Patient ID",
    "Patient Age",
    "Patient Gender",
    "View Position",
)
ALIASES = {"Patient Sex": "Patient Gender"}
MAX_AGE = 120  # years; early versions of the table have ages up to 414
MAX_FOLLOW_UP = 1000  # NIH's highest is 183
_YEARS = {"": 1, "Y": 1, "M": 12, "W": 52, "D": 365}  # units of a DICOM age string in a year
_NIH_NAME = re.compile(r"([0-9]{8})_[0-9]{3}\.png", re.IGNORECASE)


@dataclass(frozen=True)
class Table:
    """Usable rows and the others.

    `rows` has the columns row (int, line in the file, header = 1), image_id (str, in the form of
    `label_table.same_name`), patient_id (str, of `patients.identity`), age (int, years), sex,
    view (str), follow_up (int) and findings (tuple of str, sorted, empty for No Finding).
    """

    rows: "pd.DataFrame"
    problems: list[Problem]

    @property
    def total(self) -> int:
        """Rows in the file."""
        return len(self.rows) + len(self.problems)


def read_table(path: str | Path) -> Table:
    """Reads and checks `Data_Entry_2017*.csv` or `sample_labels.csv`.

    Both variants have the columns of `COLUMNS`; the sample writes ages as DICOM age strings
    ("060Y", "011M") and numbers with leading zeros. Each bad row is set aside with its reason. Of
    rows that name the same image, one is kept when all are alike, none when they differ.

    Raises:
        CxrflowError: the file is no readable UTF-8 text, not a comma-separated table, has no rows,
            or lacks columns or has one twice.
    """
    try:
        rows = read_rows(str(path), list(COLUMNS), ALIASES)
    except BadTable as error:
        raise CxrflowError(str(error)) from None
    issues = {row.line: [(Reason.BAD_ROW.value, row.fault)] for row in rows if row.fault}
    whole = [row for row in rows if not row.fault]
    # By columns: equal values are one object, and no row needs a dict of its own.
    columns: dict[str, list[Any]] = {"row": [row.line for row in whole]}
    for place, (name, parse) in enumerate(_PARSERS.items()):
        columns[name] = list(map(_once(parse), (row.values[place] for row in whole)))
        for row, found in zip(whole, columns[name], strict=True):
            if isinstance(found, BadValue):
                issues.setdefault(row.line, []).append((found.reason, str(found)))
    for row, *ids in zip(whole, columns["image_id"], columns["patient_id"], strict=True):
        if wrong := _mismatch(*ids):
            issues.setdefault(row.line, []).append((Reason.PATIENT_MISMATCH.value, wrong))
    for line, detail in repeats(_said(whole, columns)).items():
        issues.setdefault(line, []).append((Reason.DUPLICATE_IMAGE.value, detail))
    good = [line not in issues for line in columns["row"]]
    named = zip(columns["row"], columns["image_id"], good, strict=True)
    names = {line: name for line, name, is_good in named if not is_good}
    problems = [
        Problem(found[0][0], _name(row, names.get(row.line)), row.line, _details(found))
        for row in rows
        if (found := issues.get(row.line))
    ]
    return Table(_frame({name: list(compress(c, good)) for name, c in columns.items()}), problems)


def _once(parse: Callable[[str], Any]) -> Callable[[str], Any]:
    """`parse`, asked once for each text; a bad value is returned, not raised."""
    known: dict[str, Any] = {}

    def ask(text: str) -> Any:
        if text not in known:
            try:
                known[text] = parse(text)
            except BadValue as error:
                known[text] = error
        return known[text]

    return ask


def _said(
    rows: Sequence[Row], columns: Mapping[str, Sequence[Any]]
) -> Iterator[tuple[int, str, object]]:
    """What each row says of its image where several name that one: values, or a bad one's text."""
    counts = Counter(name for name in columns["image_id"] if isinstance(name, str))
    for row, *values in zip(rows, *(columns[name] for name in _PARSERS), strict=True):
        if counts[values[0]] > 1:
            texts = zip(values, row.values, strict=True)
            said = [text if isinstance(value, BadValue) else (value,) for value, text in texts]
            yield row.line, values[0], said


def _name(row: Row, found: str | BadValue | None) -> str:
    return found if isinstance(found, str) else shown(row.values[0])


def _details(found: Sequence[tuple[str, str]]) -> str:
    return "; ".join(detail for _, detail in found)


def _frame(columns: Mapping[str, Sequence[Any]]) -> "pd.DataFrame":
    import pandas as pd

    numbers = {"row", "age", "follow_up"}
    return pd.DataFrame(
        {
            name: pd.Series(values, dtype="int64" if name in numbers else "object")
            for name, values in columns.items()
        }
    )


def _findings(text: str) -> tuple[str, ...]:
    return tuple(sorted(findings(text, CLASSES_14)))


def years(text: str) -> int:
    """An age as a whole number of years: "63", "63.0", "063Y", "011M".

    Raises:
        BadValue: it is none, or above MAX_AGE.
    """
    match = re.fullmatch(r"([0-9]{1,9})(?:\.0*)?([YMWD]?)", text.upper())
    if not match:
        raise BadValue(Reason.IMPOSSIBLE_AGE.value, f"age '{shown(text)}' is not a number of years")
    years = int(match[1]) // _YEARS[match[2]]
    if years > MAX_AGE:
        raise BadValue(Reason.IMPOSSIBLE_AGE.value, f"age {shown(text)} is over {MAX_AGE} years")
    return years


def _follow_up(text: str) -> int:
    match = re.fullmatch(r"([0-9]{1,9})(?:\.0*)?", text)
    if not match or int(match[1]) > MAX_FOLLOW_UP:
        detail = f"follow-up '{shown(text)}' is not a number from 0 to {MAX_FOLLOW_UP}"
        raise BadValue(Reason.BAD_FOLLOW_UP.value, detail)
    return int(match[1])


def _one_of(text: str, allowed: tuple[str, ...], reason: Reason, what: str) -> str:
    if text.upper() not in allowed:
        raise BadValue(reason.value, f"{what} '{shown(text)}' is not {' or '.join(allowed)}")
    return text.upper()


def _mismatch(name: str | BadValue, patient: str | BadValue) -> str:
    """What is wrong with a name of NIH's form, 8 digits of the patient; "" if nothing."""
    if isinstance(name, BadValue) or isinstance(patient, BadValue):
        return ""
    of_name = _NIH_NAME.fullmatch(name)
    if not of_name or (of_name[1].lstrip("0") or "0") == patient:
        return ""
    return f"{name} is not of patient {shown(patient)}"


# Column of `Table.rows` -> what reads it, in the order of COLUMNS.
_PARSERS: dict[str, Callable[[str], Any]] = {
    "image_id": image_name,
    "findings": _findings,
    "follow_up": _follow_up,
    "patient_id": identity,
    "age": years,
    "sex": lambda text: _one_of(text, ("M", "F"), Reason.BAD_SEX, "sex"),
    "view": lambda text: _one_of(text, ("PA", "AP"), Reason.BAD_VIEW, "view"),
}
