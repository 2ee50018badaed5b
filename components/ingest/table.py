"""The label table, Kaggle's two variants: typed rows, and the rows that cannot be used."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from components.ingest.folder import SUFFIXES
from components.ingest.quarantine import Problem, Reason
from schema.classes import CLASSES_14, NO_FINDING
from schema.errors import CxrflowError

if TYPE_CHECKING:
    import pandas as pd

# The columns that are read; sizes and pixel spacings of the film before NIH made PNGs are not.
COLUMNS = {
    "Image Index": "image_id",
    "Finding Labels": "findings",
    "Follow-up #": "follow_up",
    "Patient ID": "patient_id",
    "Patient Age": "age",
    "Patient Gender": "sex",
    "View Position": "view",
}
ALIASES = {"Patient Sex": "Patient Gender"}
MAX_AGE = 120  # years; early versions of the table have ages up to 414
_YEARS = {"": 1, "Y": 1, "M": 12, "W": 52, "D": 365}  # units of a DICOM age string in a year
_NIH_NAME = re.compile(r"(\d{8})_\d{3}\.png")


@dataclass(frozen=True)
class Table:
    """Usable rows and the others.

    `rows` has the columns row (int, line in the file, header = 1), image_id, patient_id (str,
    without leading zeros), age (int, years), sex, view (str), follow_up (int) and findings (tuple
    of str, sorted, empty for No Finding).
    """

    rows: "pd.DataFrame"
    problems: list[Problem]

    @property
    def total(self) -> int:
        """Rows in the file."""
        return len(self.rows) + len(self.problems)


class _BadValue(ValueError):
    def __init__(self, reason: Reason, detail: str):
        super().__init__(detail)
        self.reason = reason


def read_table(path: str | Path) -> Table:
    """Reads and checks `Data_Entry_2017*.csv` or `sample_labels.csv`.

    Both variants have the columns of `COLUMNS`; the sample writes ages as DICOM age strings
    ("060Y", "011M") and numbers with leading zeros. Each bad row is set aside with its reason. Of
    rows that name the same image, one is kept when all are alike, none when they differ.

    Raises:
        CxrflowError: the file is empty, not a comma-separated UTF-8 table, or lacks columns.
    """
    rows = _read_csv(Path(path))
    issues: dict[int, list[tuple[Reason, str]]] = {}

    def note(row: int, reason: Reason, detail: str) -> None:
        issues.setdefault(row, []).append((reason, detail))

    parsers: dict[str, Callable[[str], Any]] = {
        "image_id": _image_name,
        "patient_id": _patient,
        "findings": _findings,
        "age": _age,
        "sex": lambda text: _one_of(text, ("M", "F"), Reason.BAD_SEX, "sex"),
        "view": lambda text: _one_of(text, ("PA", "AP"), Reason.BAD_VIEW, "view"),
        "follow_up": _follow_up,
    }
    named = rows["image_id"]
    typed = rows[["row"]].copy()
    for column, parse in parsers.items():
        values: dict[str, Any] = {}
        bad: dict[str, _BadValue] = {}
        for text in rows[column].unique():
            try:
                values[text] = parse(text)
            except _BadValue as error:
                bad[text] = error
        typed[column] = rows[column].map(values)
        if bad:
            for row, text in rows.loc[rows[column].isin(list(bad)), ["row", column]].to_numpy():
                note(row, bad[text].reason, str(bad[text]))
    for row, image, patient in _mismatches(typed):
        note(row, Reason.PATIENT_MISMATCH, f"{image} is not of patient {patient}")
    for row, detail in _duplicates(rows):
        note(row, Reason.DUPLICATE_IMAGE, detail)

    names = dict(zip(rows["row"], named, strict=True))
    problems = [
        Problem(found[0][0].value, names[row], row, "; ".join(detail for _, detail in found))
        for row, found in sorted(issues.items())
    ]
    good = typed[~typed["row"].isin(list(issues))].reset_index(drop=True)
    return Table(good.astype({"age": "int64", "follow_up": "int64"}), problems)


def _read_csv(path: Path) -> "pd.DataFrame":
    import pandas as pd

    try:
        # index_col: pandas would take a first column as index where rows end with a comma more
        # than the header; blank lines are kept so that row numbers are those of the file.
        raw = pd.read_csv(
            path,
            dtype=str,
            keep_default_na=False,
            encoding="utf-8-sig",
            index_col=False,
            skip_blank_lines=False,
        ).fillna("")
    except pd.errors.EmptyDataError:
        raise CxrflowError(f"{path} is empty") from None
    except (pd.errors.ParserError, UnicodeDecodeError) as error:
        line = " ".join(str(error).split())
        raise CxrflowError(f"{path} is not a comma-separated table in UTF-8: {line}") from None
    raw.columns = [ALIASES.get(c, c) for c in raw.columns.str.strip()]
    missing = [c for c in COLUMNS if c not in raw.columns]
    if missing:
        raise CxrflowError(
            f"{path} lacks the column{'s' * (len(missing) > 1)} {', '.join(missing)}; the table of "
            f"NIH ChestX-ray14 has {', '.join(COLUMNS)}"
        )
    rows = raw[list(COLUMNS)].rename(columns=COLUMNS).apply(lambda column: column.str.strip())
    rows.insert(0, "row", range(2, len(rows) + 2))
    rows = rows[(rows.drop(columns="row") != "").any(axis=1)].reset_index(drop=True)
    if rows.empty:
        raise CxrflowError(f"{path} has a header but no rows")
    return rows


def _image_name(text: str) -> str:
    if not text.lower().endswith(SUFFIXES) or "/" in text or "\\" in text or text[0] == ".":
        raise _BadValue(Reason.BAD_IMAGE_NAME, f"{text!r} is not the name of a PNG or JPEG file")
    return text


def _patient(text: str) -> str:
    if not text:
        raise _BadValue(Reason.BAD_PATIENT, "no patient id")
    return str(int(text)) if re.fullmatch(r"[0-9]+", text) else text


def _findings(text: str) -> tuple[str, ...]:
    names = {name.strip() for name in text.split("|")}
    unknown = sorted(names - {*CLASSES_14, NO_FINDING})
    if unknown:
        detail = f"{', '.join(unknown)} is not a finding" if text else "no finding given"
        raise _BadValue(Reason.UNKNOWN_FINDING, f"{detail}; a normal image says {NO_FINDING}")
    if NO_FINDING in names and len(names) > 1:
        raise _BadValue(Reason.FINDING_CONFLICT, f"{text} contradicts itself")
    return tuple(sorted(names - {NO_FINDING}))


def _age(text: str) -> int:
    match = re.fullmatch(r"([0-9]{1,9})(?:\.0*)?([YMWD]?)", text.upper())
    if not match:
        raise _BadValue(Reason.IMPOSSIBLE_AGE, f"age {text!r} is not a number of years")
    years = int(match[1]) // _YEARS[match[2]]
    if years > MAX_AGE:
        raise _BadValue(Reason.IMPOSSIBLE_AGE, f"age {text} is over {MAX_AGE} years")
    return years


def _follow_up(text: str) -> int:
    if not re.fullmatch(r"[0-9]{1,9}", text):
        raise _BadValue(Reason.BAD_FOLLOW_UP, f"follow-up {text!r} is not a number from 0")
    return int(text)


def _one_of(text: str, allowed: tuple[str, ...], reason: Reason, what: str) -> str:
    if text.upper() not in allowed:
        raise _BadValue(reason, f"{what} {text!r} is not {' or '.join(allowed)}")
    return text.upper()


def _mismatches(typed: "pd.DataFrame") -> "list[tuple[int, str, str]]":
    """Rows whose name has NIH's form, 8 digits of the patient, of another patient."""
    known = typed[["row", "image_id", "patient_id"]].dropna()
    of_name = known["image_id"].str.extract(f"^{_NIH_NAME.pattern}$")[0].str.lstrip("0")
    wrong = known[of_name.notna() & (of_name.replace("", "0") != known["patient_id"])]
    return list(wrong.itertuples(index=False, name=None))


def _duplicates(rows: "pd.DataFrame") -> list[tuple[int, str]]:
    """Rows to set aside because another row names the same image."""
    twice = rows[rows.duplicated("image_id", keep=False) & (rows["image_id"] != "")]
    found = []
    for _, group in twice.groupby("image_id", sort=False):
        first, *rest = group["row"]
        if len(group.drop(columns="row").drop_duplicates()) == 1:
            found += [(row, f"repeats row {first}") for row in rest]
        else:
            others = ", ".join(str(row) for row in group["row"])
            found += [(row, f"rows {others} differ for this image") for row in group["row"]]
    return found
