"""How a data source is described: its tables, what their columns mean, its images and splits."""

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from cxrflow.components.ingest.source.spelling import (
    canonical,
    composed,
    require_one_meaning,
)
from cxrflow.schema.classes import NO_FINDING
from cxrflow.schema.settings import settings

Policy = Literal["positive", "negative", "leave_out", "ignore"]
Split = Literal["train", "eval", "test"]
View = Literal["PA", "AP", "unknown", "set_aside"]
Sex = Literal["M", "F", "unknown"]
Text = Annotated[str, AfterValidator(composed)]  # that is compared with tables
Column = Text  # of a table; "dicom:KEYWORD" is an element of the image's DICOM header
SliceName = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*$", max_length=32)]

# Elements that name no patient, examination, person or place (PS3.15, table E.1-1).
DICOM_SLICES = (
    *("Manufacturer", "ManufacturerModelName", "DetectorType", "Modality", "BodyPartExamined"),
    *("PatientOrientation", "PhotometricInterpretation", "ViewPosition", "Grid"),
)
_RESERVED = (NO_FINDING, "EXAMPLES")  # EXAMPLES counts a split's images in Transform

_OUR_GROUPS = ("sex", "view", "age_band")


def _plain_keys(given: Any) -> Any:
    """A mapping whose keys YAML took for numbers or for nothing, as text again."""
    if not isinstance(given, dict):
        return given
    for key in given:
        if isinstance(key, bool):
            word = "yes, true or on" if key else "no, false or off"
            raise ValueError(f"{word} means {key} in YAML: put the value into quotes")
    return {"" if key is None else composed(str(key)): value for key, value in given.items()}


def _yes_or_no() -> dict[str, Policy]:
    return {"1": "positive", "0": "negative"}


def _as_ours() -> dict[str, Split]:
    return {"train": "train", "eval": "eval", "test": "test"}


def _men_and_women() -> dict[str, Sex]:
    return {"M": "M", "Male": "M", "F": "F", "Female": "F", "": "unknown"}


def _frontal() -> dict[str, View]:
    return {"PA": "PA", "AP": "AP", "": "unknown"}


def _one_meaning(meanings: dict[str, Any]) -> dict[str, Any]:
    require_one_meaning(meanings)
    return meanings


Keys = BeforeValidator(_plain_keys)
OneMeaning = AfterValidator(_one_meaning)
Policies = Annotated[dict[str, Policy], Keys, OneMeaning]


@settings
class TableConfig:
    """A file of rows: CSV, TSV (also .gz) or Parquet."""

    file: str
    """Its path in the data folder; `*` stands for any part of a name."""
    split: Split | Literal[""] = ""
    """The split that all its rows belong to, where it has one."""


@settings
class JoinConfig:
    """A further file, whose columns are added to the rows."""

    file: str
    """Its path in the data folder."""
    by: tuple[Text, ...] = Field(min_length=1)
    """Columns that both have; a row without a partner is set aside."""


@settings
class ColumnsConfig:
    """Which column says what; empty where there is none."""

    image: Column = ""
    """Path or name of the image's file, or its SOP Instance UID."""
    patient: Column = ""
    """Id of the patient. No patient is in two splits, so an own source needs one."""
    study: Column = ""
    """Study Instance UID; without `image`, a row is about all images of its study."""
    age: Column = ""
    """Years, or a DICOM age string."""
    born: Column = ""
    """Year of birth, or a date that begins with it: with `examined`, for the age."""
    examined: Column = ""
    """Year of the examination, or a date that begins with it."""
    sex: Column = ""
    """M or F, in any of the words of `sexes`."""
    view: Column = ""
    """View of the image, in the words of `views`."""
    follow_up: Column = ""
    """Number of the examination."""
    patterns: dict[str, str] = Field(default_factory=dict)
    """Field of these -> regular expression whose first group is the value: an id in a path."""


@settings
class LabelsConfig:
    """Which classes there are, and what a value means."""

    column: Text = ""
    """The column that names all findings; empty: each class has a column of its own."""
    separator: str = "|"
    """Between the names in `column`."""
    strip: str = ""
    """Characters around names in `column` that don't count, such as brackets and quotes."""
    classes: Annotated[dict[str, Text], Keys] = Field(default_factory=dict)
    """Name in the source (a column, or a word in `column`) -> class, in the order of the outputs.
    Several names may mean one class."""
    none: tuple[Text, ...] = ()
    """Names that say there is no finding."""
    beside_none: tuple[Text, ...] = ()
    """Classes that don't contradict `none`, such as devices."""
    leave_out: tuple[Text, ...] = ()
    """Words of `column` that leave the image out of the run, as they say nothing of the classes."""
    others: Literal["refuse", "drop"] = "refuse"
    """A word of `column` that is in none of these lists: refuse sets the row aside, drop ignores
    the word."""
    values: Policies = Field(default_factory=_yes_or_no)
    """What a class's column may hold, "" for blank: positive, negative, ignore (the class is
    unknown for this image, and counts in no loss and no figure of the class), or leave_out (the
    image stays out of the run). Numbers are compared as numbers; other values set the row aside."""
    values_of: dict[Text, Policies] = Field(default_factory=dict)
    """Class -> values that mean something else for it."""
    several_rows: Literal["same", "any", "majority", "all"] = "same"
    """Rows of one image, such as several readers': same sets those aside that differ, else a
    class is positive if any, most or all of them say so."""

    @model_validator(mode="after")
    def _consistent(self) -> "LabelsConfig":
        for name in self.names:
            if not _is_class_name(name):
                raise ValueError(
                    f"classes: {name!r} can't name a class: 1 to 64 printable characters without "
                    f"outer spaces or |, not {' or '.join(_RESERVED)}"
                )
        seen: dict[str, str] = {}
        for name in self.names:
            if (other := seen.setdefault(canonical(name), name)) != name:
                raise ValueError(
                    f"classes: {other!r} and {name!r} differ in nothing that readers see: write "
                    "both the same if they are one class, else give one another name"
                )
        for what, given in (("values_of", self.values_of), ("beside_none", self.beside_none)):
            if wrong := [name for name in given if name not in self.names]:
                raise ValueError(f"{what} has {wrong[0]!r}, which is no class")
        if self.column:
            require_one_meaning(self.classes)
        same = canonical if self.column else str  # a column's name is what it is
        words, none = {same(name) for name in self.classes}, {same(name) for name in self.none}
        if both := [name for name in self.none if same(name) in words]:
            raise ValueError(f"none has {both[0]!r}, which is a class too")
        if both := [name for name in self.leave_out if same(name) in words | none]:
            raise ValueError(f"leave_out has {both[0]!r}, which is a class or in none too")
        if self.leave_out and not self.column:
            raise ValueError("leave_out has words of `column`; a value of a column is in `values`")
        if self.column and not self.separator.strip(" ") and self.separator != " ":
            raise ValueError("separator is empty")
        return self

    @property
    def has_unknown(self) -> bool:
        """Whether a class may be unknown for an image."""
        return any("ignore" in one.values() for one in (self.values, *self.values_of.values()))

    @property
    def names(self) -> tuple[str, ...]:
        """The classes, each once."""
        return tuple(dict.fromkeys(self.classes.values()))


@settings
class ImagesConfig:
    """Where the images are."""

    format: Literal["png_jpeg", "dicom"] = "png_jpeg"
    """dicom: rendered as the client renders; laterals, other body parts and raw data are set
    aside."""
    folder: str = "."
    """Folder of all images, in the data folder."""
    path: Text = ""
    """An image's path from columns: `{ImageDir}/{ImageID}`, `{id:2}` for the first two characters;
    empty: what `columns.image` says."""


@settings
class SplitsConfig:
    """Who decides the splits; where nothing does, a hash of the patient."""

    column: Text = ""
    """Column that names each row's split."""
    values: Annotated[dict[str, Split], Keys, OneMeaning] = Field(default_factory=_as_ours)
    """Value of `column` -> split. A split that nobody names is cut out of train, by patient."""
    lists: dict[Split, str] = Field(default_factory=dict)
    """Split -> file with the name of an image or the id of a patient a line."""

    @model_validator(mode="after")
    def _consistent(self) -> "SplitsConfig":
        if self.column and self.lists:
            raise ValueError("column and lists both decide the splits: keep one of them")
        return self


@settings
class DataConfig:
    """A data source: what lies in the folder that --data names."""

    name: str = "own"
    """What reports call it."""
    tables: tuple[TableConfig, ...] = Field(default=(), min_length=0)
    """Files of rows, one after the other."""
    joins: tuple[JoinConfig, ...] = ()
    """Files whose columns are added."""
    columns: ColumnsConfig = Field(default_factory=ColumnsConfig)
    """Which column says what."""
    images: ImagesConfig = Field(default_factory=ImagesConfig)
    """Where the images are."""
    labels: LabelsConfig = Field(default_factory=LabelsConfig)
    """Which classes there are, and what a value means."""
    views: Annotated[dict[str, View], Keys, OneMeaning] = Field(default_factory=_frontal)
    """Value of `columns.view`, "" for blank -> PA, AP, unknown or set_aside; so are all others."""
    sexes: Annotated[dict[str, Sex], Keys, OneMeaning] = Field(default_factory=_men_and_women)
    """Value of `columns.sex`, "" for blank -> M, F or unknown; others set the row aside."""
    splits: SplitsConfig = Field(default_factory=SplitsConfig)
    """Who decides the splits."""
    slices: dict[SliceName, Column] = Field(default_factory=dict)
    """Further groups that scores are given for, and that the gate compares: name -> column."""
    pseudonym_key: str = ""
    """File with a secret of 16 bytes or more: ids of patients and images become keyed hashes.
    DICOM needs one."""

    @model_validator(mode="after")
    def _consistent(self) -> "DataConfig":
        if not self.tables:
            raise ValueError("tables names no file")
        if not self.labels.classes:
            raise ValueError("labels.classes names no class")
        is_dicom = self.images.format == "dicom"
        if not (self.columns.image or self.images.path or (is_dicom and self.columns.study)):
            raise ValueError(
                "columns.image names no column (or give images.path, or columns.study for DICOM)"
            )
        if not self.columns.patient and not is_dicom:
            raise ValueError(
                "columns.patient names no column: without one a patient may be in two splits. "
                "If each image is of another patient, name the image's column"
            )
        if is_dicom and not self.pseudonym_key:
            raise ValueError(
                "pseudonym_key names no file, and DICOM names patients: "
                "`openssl rand -hex 32 > KEYFILE` makes one"
            )
        for name, column in self.slices.items():
            if name in _OUR_GROUPS:
                raise ValueError(f"slices.{name}: figures by {name} are given anyway; rename it")
            keyword = column.removeprefix("dicom:")
            if keyword != column and keyword not in DICOM_SLICES:
                raise ValueError(
                    f"slices.{name}: {keyword} may name a patient or place; of DICOM take "
                    f"{', '.join(DICOM_SLICES)}"
                )
        decided = [bool(self.splits.column or self.splits.lists), any(t.split for t in self.tables)]
        if all(decided):
            raise ValueError("tables.split and splits both decide the splits: keep one of them")
        return self

    @property
    def has_own_test(self) -> bool:
        """Whether the source says itself which images are test."""
        in_column = self.splits.values.values() if self.splits.column else ()
        return "test" in {*(table.split for table in self.tables), *self.splits.lists, *in_column}


def _is_class_name(name: str) -> bool:
    return (
        0 < len(name) <= 64
        and name == name.strip()
        and name.isprintable()
        and "|" not in name
        and name.casefold() not in {word.casefold() for word in _RESERVED}
    )
