"""A first description of a folder that nobody has described: guesses, each with its reason."""

import os
import secrets
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from cxrflow.components.ingest.folder import TABLES
from cxrflow.components.ingest.source import READY, guesses
from cxrflow.components.ingest.source.dicoms import PREFIX, DicomFile, find_dicoms
from cxrflow.components.ingest.source.files import TABLE_SUFFIXES, Sheet, is_table, read_sheet
from cxrflow.components.ingest.source.places import image_files
from cxrflow.components.ingest.source.spelling import canonical
from cxrflow.schema.errors import CxrflowError
from cxrflow.schema.files import write_whole
from cxrflow.schema.portable.label_table import same_name, shown

KEY = "pseudonym.key"
_SAMPLE = 500  # rows that are compared with the images


@dataclass
class Description:
    """What was written, and what there is to say of it."""

    said: list[str] = field(default_factory=list)
    data: str = ""  # a run's --set data=, where the folder's own data.yaml isn't it


@dataclass
class _Images:
    """What the folder's images may be called by."""

    is_dicom: bool
    count: int
    others: int  # of the other kind
    names: set[str]  # whatever their case
    sops: set[str]
    studies: set[str]


def describe(folder: Path, to: Path, like: str = "") -> Description:
    """Writes a description of `folder` into the file `to`.

    Args:
        folder: with tables, and images or DICOM files.
        to: the file; must not exist.
        like: the text of a ready description to write instead of guesses.

    Raises:
        CxrflowError: there is no such folder, no table or image in it, or the file is there.
    """
    if not folder.is_dir():
        raise CxrflowError(f"{folder} is not a folder")
    if to.exists():
        raise CxrflowError(f"{to} is there already: edit it, or remove it first")
    if like:
        write_whole(to, like)
        return Description([f"{to}: the ready description; edit what differs"])
    tables = sorted(_tables(folder))
    if not tables:
        excel = sorted(path.name for path in folder.glob("*.xls*"))
        hint = f"; save {shown(excel[0])} as CSV" if excel else ""
        raise CxrflowError(
            f"{folder} has no table ({', '.join(TABLE_SUFFIXES)}): labels must stand in one, a row "
            f"an image or a study{hint}"
        )
    if known := _known(folder, tables):
        return known
    images = _look(folder)
    sheets, faults = _read(tables)
    sheet, path, others = _main(folder, sheets, images)
    found = _write(folder, to, _Guess(sheet, path.relative_to(folder).as_posix(), images), others)
    found.said += [f"  not used: {fault}" for fault in faults]
    return found


def _tables(folder: Path) -> Iterator[Path]:
    for pattern in ("*", "*/*"):
        yield from (path for path in folder.glob(pattern) if path.is_file() and is_table(path))


def _read(tables: Sequence[Path]) -> tuple[list[tuple[Sheet, Path]], list[str]]:
    """The tables that can be read, and why others can't: a README may lie among them.

    Raises:
        CxrflowError: none can.
    """
    sheets, faults = [], []
    for path in tables:
        try:
            sheets.append((read_sheet(path), path))
        except CxrflowError as error:
            faults.append(str(error))
    if not sheets:
        raise CxrflowError(faults[0])
    return sheets, faults


def _known(folder: Path, tables: Sequence[Path]) -> Description | None:
    """Words in place of a guess where it is a public set's layout."""
    if any(path.match(pattern) for path in tables for pattern in TABLES):
        return Description(
            [f"{folder} is NIH ChestX-ray14 in Kaggle's layout: needs no description"]
        )
    for path in sorted(READY.glob("*.yaml")):
        ready = yaml.safe_load(path.read_text(encoding="utf-8"))
        if _has_columns_of(ready, folder):
            name = path.stem
            return Description(
                [
                    f"{folder} looks like {ready['name']}, which has a ready description:",
                    f"  use it with --set data={name}, or copy it with "
                    f"`cxrflow data describe {folder} --like {name}`",
                ],
                name,
            )
    return None


def _has_columns_of(ready: dict[str, Any], folder: Path) -> bool:
    """Whether a folder has the tables of a ready description, and they have its columns."""
    patterns = [table["file"] for table in (*ready["tables"], *ready.get("joins", ()))]
    found = [next(iter(sorted(folder.glob(pattern))), None) for pattern in patterns]
    paths = [path for path in found if path]
    if len(paths) < len(patterns):
        return False
    try:
        columns = {name for path in paths for name in read_sheet(path, ()).columns}
    except CxrflowError:
        return False
    labels = ready["labels"]
    needed = [labels["column"]] if "column" in labels else list(labels["classes"])[:1]
    return {ready["columns"]["image"], *needed} <= columns


def _look(folder: Path) -> _Images:
    """The images that are more: DICOM, or PNG and JPEG."""
    plain = list(image_files(folder))
    dicoms = find_dicoms(folder)
    if not plain and not dicoms:
        raise CxrflowError(f"{folder} has no PNG, JPEG or DICOM file")
    is_dicom = len(dicoms) > len(plain)
    paths = [one.path for one in dicoms] if is_dicom else plain
    names = {same_name(name).casefold() for path in paths for name in _names(path)}
    others = len(plain) + len(dicoms) - len(paths)
    return _Images(
        is_dicom, len(paths), others, names, _uids(dicoms, "SOP"), _uids(dicoms, "Study")
    )


def _names(path: str) -> tuple[str, ...]:
    name = os.path.basename(path)
    return path, name, os.path.splitext(name)[0]


def _uids(dicoms: Sequence[DicomFile], kind: str) -> set[str]:
    return {one.values.get(f"{PREFIX}{kind}InstanceUID", "") for one in dicoms} - {""}


def _main(
    folder: Path, sheets: Sequence[tuple[Sheet, Path]], images: _Images
) -> tuple[Sheet, Path, list[str]]:
    """The table whose rows name the most images, and the names of the others."""
    best = max(sheets, key=lambda one: (_best_share(one[0], images), len(one[0].rows)))
    others = [p.relative_to(folder).as_posix() for _, p in sheets if p != best[1]]
    if not _best_share(best[0], images):
        raise CxrflowError(
            f"no column of {', '.join(shown(path.name) for _, path in sheets)} names the images of "
            f"{folder}: a column must have their paths, names, or for DICOM their SOP or Study "
            "Instance UIDs"
        )
    return best[0], best[1], others


def _best_share(sheet: Sheet, images: _Images) -> float:
    return max((_share(sheet, name, images)[0] for name in sheet.columns if name), default=0.0)


def _share(sheet: Sheet, column: str, images: _Images) -> tuple[float, bool]:
    """The share of a column's values that name an image, and whether they name studies."""
    values = [row[column] for _, row in sheet.rows[:_SAMPLE] if row.get(column)]
    if not values:
        return 0.0, False
    by_study = sum(value in images.studies for value in values) / len(values)
    by_image = sum(_means_image(value, images) for value in values) / len(values)
    return max(by_study, by_image), by_study > by_image


def _means_image(value: str, images: _Images) -> bool:
    return value in images.sops or any(
        same_name(name).casefold() in images.names for name in (value, os.path.basename(value))
    )


class _Guess:
    """What the columns of a table are taken for."""

    def __init__(self, sheet: Sheet, file: str, images: _Images):
        self.sheet, self.file, self.images = sheet, file, images
        self.values = {name: [row[name] for _, row in sheet.rows] for name in sheet.columns if name}
        shares = {name: _share(sheet, name, images) for name in self.values}
        self.image = max(shares, key=lambda name: shares[name][0])
        self.share, self.by_study = shares[self.image]
        taken = {self.image}
        self.columns = {}
        for what in ("patient", "age", "sex", "view", "split"):
            free = {name: v for name, v in self.values.items() if name not in taken}
            if found := guesses.column(what, free):
                self.columns[what] = found
                taken.add(found)
        free = {name: v for name, v in self.values.items() if name not in taken}
        self.labels = guesses.labels(free)
        taken |= set(self.labels.columns)
        self.groups = guesses.groups(
            {name: v for name, v in self.values.items() if name not in taken}
        )


def _write(folder: Path, to: Path, guess: _Guess, others: Sequence[str]) -> Description:
    lines = list(_lines(guess, others))
    found = Description()
    if guess.images.is_dicom:
        key = to.absolute().parent / KEY  # a data folder may be read-only
        found.said += _key(key)
        named = KEY if key.parent == folder.absolute() else _yaml(str(key))
        lines += [f"pseudonym_key: {named} # keep it secret, and keep it: ids depend on it"]
    write_whole(to, "\n".join(lines) + "\n")
    kind = "DICOM" if guess.images.is_dicom else "PNG or JPEG"
    classes = guess.labels.classes
    found.said = [
        f"{to}: {guess.file} ({guess.sheet.how}), {len(guess.sheet.rows):,} rows; "
        f"{guess.images.count:,} {kind} files; {len(classes)} classes",
        *found.said,
        *(f"  look at: {doubt}" for doubt in _doubts(guess)),
    ]
    return found


def _key(path: Path) -> list[str]:
    """Makes a key for pseudonyms, unless there is one."""
    if path.exists():
        return []
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(secrets.token_hex(32) + "\n")
    return [f"{path}: a key for pseudonyms, made now; whoever has it can tell who is who"]


def _doubts(guess: _Guess) -> Iterator[str]:
    if guess.share < 1:
        yield f"only {guess.share:.0%} of the rows name an image (columns.image)"
    if guess.images.others:
        kind = "PNG and JPEG" if guess.images.is_dicom else "DICOM"
        yield f"{guess.images.others:,} {kind} files are left out (images.format)"
    if rare := [name for name, count in guess.labels.classes.items() if not count]:
        yield f"no row is positive for {', '.join(map(shown, rare))} (labels)"
    spelt = Counter(canonical(name) for name in guess.labels.classes)
    if alike := [name for name in guess.labels.classes if spelt[canonical(name)] > 1]:
        yield f"{', '.join(map(shown, alike))} differ only in case or spaces (labels.classes)"
    if not guess.labels.classes:
        yield "no column was taken for labels: name them in labels"
    if "patient" not in guess.columns and not guess.images.is_dicom:
        yield "no column was taken for the patient: each image counts as another patient's"
    if guess.labels.unsure:
        yield f"what {', '.join(guess.labels.unsure)} means (labels.values)"


def _lines(guess: _Guess, others: Sequence[str]) -> Iterator[str]:
    labels = guess.labels
    yield "# Written by `cxrflow data describe`: guesses. Edit them; docs/data.md has all fields."
    yield "name: own"
    yield "tables:"
    yield f"  - file: {_yaml(guess.file)} # {guess.sheet.how}"
    if others:
        names = ", ".join(shown(name) for name in others)
        yield f"# Not used: {names} (joins: adds their columns)."
    yield "columns:"
    field_name = "study" if guess.by_study else "image"
    yield f"  {field_name}: {_yaml(guess.image)} # names {guess.share:.0%} of the images"
    if "patient" in guess.columns:
        yield f"  patient: {_yaml(guess.columns['patient'])}"
    elif not guess.images.is_dicom:
        yield f"  patient: {_yaml(guess.image)} # TODO: no column of patients was found"
    for what in ("age", "sex", "view"):
        if what in guess.columns:
            yield f"  {what}: {_yaml(guess.columns[what])}"
    if guess.images.is_dicom:
        yield "# What is not named here is taken from the DICOM headers: patient, age, sex, view."
        yield "images:"
        yield "  format: dicom"
    for what, key in (("sex", "sexes"), ("view", "views")):
        if what in guess.columns:
            meant = guesses.meanings(what, guess.values[guess.columns[what]])
            yield f"{key}: {{ {', '.join(f'{_yaml(v)}: {_yaml(m)}' for v, m in meant.items())} }}"
    yield from _label_lines(guess)
    if "split" in guess.columns:
        meant = guesses.meanings("split", guess.values[guess.columns["split"]])
        yield "splits:"
        yield f"  column: {_yaml(guess.columns['split'])}"
        yield f"  values: {{ {', '.join(f'{_yaml(v)}: {m}' for v, m in meant.items())} }}"
    if guess.groups:
        yield "# Groups that scores may be given for too:"
        yield "# slices:"
        for name in guess.groups:
            yield f"#   {guesses.slice_name(name)}: {_yaml(name)}"
    if not labels.classes:
        yield "# TODO: no column of labels was found."


def _label_lines(guess: _Guess) -> Iterator[str]:
    labels = guess.labels
    yield "labels:"
    if labels.column:
        yield f"  column: {_yaml(labels.column)}"
        yield f"  separator: {_yaml(labels.separator)}"
    if labels.none:
        yield f"  none: [{', '.join(map(_yaml, labels.none))}]"
    yield "  classes: # name in the table -> class; remove what isn't to be learned"
    for name, count in labels.classes.items():
        yield f"    {_yaml(name)}: {_yaml(guesses.class_name(name))} # {count:,} rows"
    if labels.column:
        yield "  others: drop # words that are in no list"
    if labels.values:
        yield (
            "  values: # positive, negative, ignore (unknown for this image), or leave_out (the "
            "image stays out)"
        )
        for value, (policy, count) in labels.values.items():
            yield f"    {_yaml(value)}: {policy} # {count:,} values"


def _yaml(text: str) -> str:
    """A text as YAML reads it as text, on one line."""
    style = None if text.isprintable() else '"'  # with line breaks, for example
    plain = yaml.safe_dump(
        [text], default_flow_style=True, default_style=style, width=10**6, allow_unicode=True
    )
    return plain.strip()[1:-1]
