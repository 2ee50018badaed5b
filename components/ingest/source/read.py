"""A described source as rows of images: what ingest reads of NIH's table, for any table."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cxrflow.components.ingest.quarantine import Problem, Reason
from cxrflow.components.ingest.source.dicoms import PREFIX, DicomFile
from cxrflow.components.ingest.source.labels import LabelReader
from cxrflow.components.ingest.source.places import Found, Places, picked
from cxrflow.components.ingest.source.rows import SourceRow, read_rows
from cxrflow.components.ingest.source.settings import DataConfig
from cxrflow.components.ingest.source.spelling import MISSING, canonical
from cxrflow.components.ingest.table import years
from cxrflow.schema.features import SLICE_PREFIX, UNKNOWN, UNKNOWN_AGE
from cxrflow.schema.patients import identity
from cxrflow.schema.portable.label_table import BadValue, same_name, shown
from cxrflow.schema.pseudonyms import Pseudonyms

if TYPE_CHECKING:
    import pandas as pd

_NUMBERS = ("row", "age", "follow_up")
_UNSEEN = "(not shown)"  # in place of what may name a patient
_FRACTION = re.compile(r"([0-9]{1,3})[.,][0-9]+")  # full years are an age
# 1960, 1960.0 as a float column has it, 19601224, 1960-12-24, 1960/12/24 10:15:00.
_YEAR_FIRST = re.compile(r"([0-9]{4})(?:\.0*|[-/.]?([0-9]{2})[-/.]?([0-9]{2})(?:[T ].*)?)?")


@dataclass(frozen=True)
class SourceTable:
    """Usable rows, one an image, and the others.

    `rows` has the columns of `table.Table.rows`, and: unknown (classes of which nothing is known, a
    tuple), path (absolute), names (what lists may call
    the image or patient, a tuple), said_split (train, eval, test or "") and a column
    `slice/NAME` for each further slice. sex, view and slices may be UNKNOWN, age UNKNOWN_AGE.
    """

    rows: "pd.DataFrame"
    problems: list[Problem]
    unlisted: list[str]  # images that no row names; pseudonyms where ids are


@dataclass
class _Image:
    """What the rows of one image say."""

    found: Found
    rows: list[SourceRow] = field(default_factory=list)


def read_source(root: Path, data: DataConfig) -> SourceTable:
    """Reads a described source; each bad row is set aside with its reason.

    Raises:
        CxrflowError: a file, folder, column or key isn't there or can't be read.
    """
    names = Pseudonyms.read(_below(root, data.pseudonym_key)) if data.pseudonym_key else None
    rows, places = read_rows(root, data), Places(root, data)
    reader = _Reader(data, names)
    images, problems = _images(rows, places, reader)
    lines = [row.line for row in rows]
    # Of one table with a row an image, a row's number is its line.
    one_table = len(set(lines)) == len(lines) == len(images) + len(problems)
    usable: list[dict[str, Any]] = []
    ids: set[str] = set()
    for number, image in enumerate(images.values(), 1):
        try:
            values = reader.read(image)
            if values["image_id"] in ids:
                detail = "another file has its SOP Instance UID"
                raise BadValue(Reason.DUPLICATE_IMAGE.value, detail)
            ids.add(values["image_id"])
            usable.append({"row": image.rows[0].line if one_table else number, **values})
        except BadValue as error:
            problems.append((image.rows[0], reader.image_id(image.found), error))
    listed = [
        Problem(
            error.reason,
            image,
            row.line if one_table else len(images) + number,
            f"{error}" if one_table else f"{row.file} line {row.line}: {error}",
        )
        for number, (row, image, error) in enumerate(problems, 1)
    ]
    nobodys = places.all - {image.found.name for image in images.values()}
    # A DICOM that can't be read says no UID by which a row could mean it.
    broken = [one for one in places.broken if one.path in nobodys]
    last = max([*lines, len(images) + len(listed)], default=0)
    listed += [
        Problem(one.reason, reader.name(one.path), last + number, reader.harmless(one))
        for number, one in enumerate(broken, 1)
    ]
    unlisted = sorted(reader.name(path) for path in nobodys - {one.path for one in broken})
    return SourceTable(_frame(usable, data), listed, unlisted)


def key_path(root: Path, data: DataConfig) -> Path | None:
    """Where the key of pseudonyms lies; a relative path is one in the data folder."""
    return _below(root, data.pseudonym_key) if data.pseudonym_key else None


def _below(root: Path, path: str) -> Path:
    return root / Path(path).expanduser()


def _images(
    rows: list[SourceRow], places: Places, reader: "_Reader"
) -> tuple[dict[str, _Image], list[tuple[SourceRow, str, BadValue]]]:
    """Rows by the image that they are about, and those that are about none."""
    images: dict[str, _Image] = {}
    problems = []
    for row in rows:
        try:
            if row.reason:
                raise BadValue(row.reason, row.detail)
            for found in places.find(row.values):
                images.setdefault(found.name, _Image(found)).rows.append(row)
        except BadValue as error:
            problems.append((row, reader.said_image(row.values), error))
    return images, problems


class _Reader:
    """Turns what is said of an image into a row's values."""

    def __init__(self, data: DataConfig, names: Pseudonyms | None):
        self._data, self._names = data, names
        self._labels = LabelReader(data.labels)
        self._views = {canonical(value): view for value, view in data.views.items()}
        self._sexes = {canonical(value): sex for value, sex in data.sexes.items()}
        self._splits = {canonical(value): split for value, split in data.splits.values.items()}

    def read(self, image: _Image) -> dict[str, Any]:
        """The values of `SourceTable.rows`, but for row.

        Raises:
            BadValue: something keeps the image out.
        """
        found = image.found
        if found.reason:
            raise BadValue(found.reason, self._harmless(found.detail))
        each = [self._of_row({**row.values, **found.values}, row.split) for row in image.rows]
        labels = [one.pop("labels") for one in each]
        if any(one != each[0] for one in each[1:]):
            which = [key for key in each[0] if any(one[key] != each[0][key] for one in each)]
            detail = f"{len(each)} rows of this image differ in {', '.join(which)}"
            raise BadValue(Reason.DUPLICATE_IMAGE.value, detail)
        said = self._labels.together(labels)
        return {
            **each[0],
            "image_id": self.image_id(found),
            "findings": tuple(sorted(said.positive)),
            "unknown": tuple(sorted(said.unknown)),
            "path": found.path,
            "names": self._list_names(image),
        }

    def image_id(self, found: Found) -> str:
        """An image's id: its path in the folder of images, or a pseudonym."""
        uid = found.values.get(f"{PREFIX}SOPInstanceUID", "")
        return self._names.of("image", uid or found.name) if self._names else found.name

    def name(self, path: str) -> str:
        """A file's name for reports."""
        return self._names.of("file", path) if self._names else path

    def said_image(self, values: Mapping[str, str]) -> str:
        """What a row without an image calls it, for reports."""
        columns = self._data.columns
        said = values.get(columns.image or columns.study, "")
        return self.name(said) if said else ""

    def _of_row(self, row: dict[str, str], split: str) -> dict[str, Any]:
        return {
            "labels": self._labels.read(row),
            "follow_up": self._follow_up(row),
            "patient_id": self._patient(row),
            "age": self._age(row),
            "sex": self._sex(row),
            "view": self._view(row),
            "said_split": self._split(row) or split,
            **{
                f"{SLICE_PREFIX}{name}": row.get(column, "").strip() or UNKNOWN
                for name, column in self._data.slices.items()
            },
        }

    def _patient(self, row: Mapping[str, str]) -> str:
        columns = self._data.columns
        said, issuer = picked(row, "patient", self._data), ""
        if not columns.patient:
            said, issuer = (row.get(f"{PREFIX}{k}", "") for k in ("PatientID", "IssuerOfPatientID"))
        # Each image another patient's: its name is no patient's id, and stays as it is.
        is_image = "" != columns.patient == columns.image and "patient" not in columns.patterns
        try:
            who = said if is_image else identity(said)
        except BadValue as error:
            raise BadValue(error.reason, self._harmless(str(error), said)) from None
        if not self._names:
            return who
        return self._names.of("patient", f"{who}\0{issuer}" if issuer else who)

    def _age(self, row: Mapping[str, str]) -> int:
        columns = self._data.columns
        text = picked(row, "age", self._data)
        if canonical(text) not in MISSING:
            fraction = _FRACTION.fullmatch(text)
            try:
                return years(fraction[1] if fraction else text)
            except BadValue as error:  # it may be a date of birth
                raise BadValue(error.reason, self._harmless(str(error), text)) from None
        born, examined = (self._date(row, name) for name in ("born", "examined"))
        if not (columns.age or columns.born):
            if said := row.get(f"{PREFIX}PatientAge", ""):
                try:
                    return years(said)
                except BadValue:  # headers are filled in carelessly; the age alone is left out
                    return UNKNOWN_AGE
            born = _date(row.get(f"{PREFIX}PatientBirthDate", ""))
            examined = _date(row.get(f"{PREFIX}StudyDate", ""))
        if not (born and examined):
            return UNKNOWN_AGE
        return years(str(max(_full_years(born, examined), 0)))

    def _date(self, row: Mapping[str, str], field: str) -> str:
        """A column's date, YYYYMMDD or YYYY; "" if none is given."""
        text = picked(row, field, self._data)
        found = _date(text)
        if not found and canonical(text) not in MISSING:
            raise BadValue(
                Reason.IMPOSSIBLE_AGE.value,
                f"{getattr(self._data.columns, field)} is neither a year nor a date that begins "
                f"with one, as 1960-12-24 does; columns.patterns.{field} can pick its year out",
            )
        return found

    def _sex(self, row: Mapping[str, str]) -> str:
        given = self._data.columns.sex
        text = picked(row, "sex", self._data) if given else row.get(f"{PREFIX}PatientSex", "")
        sex = self._sexes.get(canonical(text))
        if sex:
            return sex
        if not given or not text:
            return UNKNOWN
        raise BadValue(Reason.BAD_SEX.value, f"sex {shown(text)!r} is not in data.sexes")

    def _view(self, row: Mapping[str, str]) -> str:
        given = self._data.columns.view
        text = picked(row, "view", self._data) if given else row.get(f"{PREFIX}ViewPosition", "")
        view = self._views.get(canonical(text)) or ("" if given or not text else UNKNOWN)
        if view in ("", "set_aside"):
            what = f"view {shown(text)!r}" if text else "no view given"
            raise BadValue(Reason.NOT_FRONTAL.value, f"{what}: data.views sets it aside")
        return view

    def _follow_up(self, row: Mapping[str, str]) -> int:
        text = picked(row, "follow_up", self._data)
        return int(canonical(text)) if canonical(text).isdigit() else 0

    def _split(self, row: Mapping[str, str]) -> str:
        column = self._data.splits.column
        if not column:
            return ""
        split = self._splits.get(canonical(row.get(column, "")))
        if not split:
            said = shown(row.get(column, ""))
            raise BadValue(Reason.BAD_SPLIT.value, f"split {said!r} is not in data.splits.values")
        return split

    def _list_names(self, image: _Image) -> tuple[str, ...]:
        """What a list may call the image or its patient."""
        names = {image.found.name, image.found.name.rpartition("/")[2]}
        for row in image.rows:
            values = {**row.values, **image.found.values}
            columns = [self._data.columns.image, self._data.columns.study]
            names.update(values[column] for column in columns if column)
            names.add(picked(row.values, "patient", self._data))
            names.update(
                values.get(f"{PREFIX}{key}", "") for key in ("PatientID", "SOPInstanceUID")
            )
        return tuple(sorted({same_name(name) for name in names} - {""}))

    def harmless(self, file: DicomFile) -> str:
        """What is wrong with a file, without what it says itself."""
        return self._harmless(file.detail)

    def _harmless(self, detail: str, said: str = "") -> str:
        """A detail without what a file or table says, where that may name a patient."""
        if not self._names:
            return detail
        plain = detail.partition(" (")[0] if "damaged:" in detail else detail
        return plain.replace(f"'{shown(said)}'", _UNSEEN) if said else plain


def _date(text: str) -> str:
    """The digits of a year or of a date that begins with one; "" for anything else."""
    match = _YEAR_FIRST.fullmatch(text.strip())
    return "".join(filter(None, match.groups())) if match else ""


def _full_years(born: str, examined: str) -> int:
    """Between two years or dates, YYYY or YYYYMMDD."""
    before = len(born) == len(examined) == 8 and examined[4:] < born[4:]
    return int(examined[:4]) - int(born[:4]) - before


def _frame(rows: list[dict[str, Any]], data: DataConfig) -> "pd.DataFrame":
    import pandas as pd

    names = ("row", "image_id", "findings", "follow_up", "patient_id", "age", "sex", "view")
    further = (
        "unknown",
        "path",
        "names",
        "said_split",
        *(f"{SLICE_PREFIX}{name}" for name in data.slices),
    )
    return pd.DataFrame(
        {
            name: pd.Series(
                [row[name] for row in rows], dtype="int64" if name in _NUMBERS else "object"
            )
            for name in (*names, *further)
        }
    )
