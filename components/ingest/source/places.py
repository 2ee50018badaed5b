"""Where a row's image lies: by its path, its name, or for DICOM its UIDs."""

import os
import re
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from cxrflow.components.ingest.quarantine import Reason
from cxrflow.components.ingest.source.dicoms import PREFIX, DicomFile, find_dicoms
from cxrflow.components.ingest.source.rows import PLACE
from cxrflow.components.ingest.source.settings import DataConfig
from cxrflow.components.ingest.source.walk import files_below
from cxrflow.schema.errors import CxrflowError
from cxrflow.schema.portable.label_table import SUFFIXES, BadValue, same_name

# Names are looked for as they are written, and where there is none so, whatever their case, as
# Windows does.
_FORMS: tuple[Callable[[str], str], ...] = (str, str.casefold)


@dataclass(frozen=True)
class Found:
    """An image that a row is about."""

    path: str  # absolute
    name: str  # relative to the folder of images, with "/"
    values: Mapping[str, str] = field(default_factory=dict)  # of a DICOM's header
    reason: str = ""
    detail: str = ""


class Places:
    """The images of a source, found by what rows say."""

    def __init__(self, root: Path, data: DataConfig):
        """Looks through the folder.

        Raises:
            CxrflowError: there is no such folder, it can't be read, or has no image.
        """
        self._root, self._data = root / data.images.folder, data
        if not self._root.is_dir():
            raise CxrflowError(f"{root} has no folder {data.images.folder} (data.images.folder)")
        self._dicoms: dict[str, DicomFile] = {}
        if data.images.format == "dicom":
            self._dicoms = {one.path: one for one in find_dicoms(self._root)}
            paths: Sequence[str] = list(self._dicoms)
        else:
            paths = sorted(image_files(self._root))
        if not paths:
            what = "DICOM" if data.images.format == "dicom" else "PNG or JPEG"
            raise CxrflowError(f"{self._root} has no {what} file")
        self.all = set(paths)
        """The images' paths, relative to their folder."""
        self._paths: list[dict[str, list[str]]] = [defaultdict(list), defaultdict(list)]
        self._names: list[dict[str, list[str]]] = [defaultdict(list), defaultdict(list)]
        for path in paths:
            whole, name = same_name(path), same_name(os.path.basename(path))
            for form, by_path, by_name in zip(_FORMS, self._paths, self._names, strict=True):
                by_path[form(whole)].append(path)
                for key in {form(name), form(os.path.splitext(name)[0])}:
                    by_name[key].append(path)
        self._by_uid: dict[str, dict[str, list[str]]] = {"SOP": {}, "Study": {}}
        for kind, known in self._by_uid.items():
            for one in self._dicoms.values():
                if uid := one.values.get(f"{PREFIX}{kind}InstanceUID"):
                    known.setdefault(uid, []).append(one.path)

    @property
    def broken(self) -> list[DicomFile]:
        """DICOM files whose header can't be read."""
        return [one for one in self._dicoms.values() if one.reason and not one.values]

    def find(self, row: Mapping[str, str]) -> list[Found]:
        """The images that a row is about: one, or all of a study.

        Raises:
            BadValue: there is none, or several where there must be one.
        """
        columns = self._data.columns
        if self._data.images.path:
            return [self._only(self._by_path(_filled(self._data.images.path, row)))]
        if columns.image:
            return [self._only(self._by_image(picked(row, "image", self._data)))]
        uid = row[columns.study].strip()
        found = self._by_uid["Study"].get(uid, [])
        if not found:
            raise BadValue(Reason.MISSING.value, "a study without images in the folder")
        return [self._found(path) for path in found]

    def _by_path(self, given: str) -> list[str]:
        """A path below the folder, which may itself be the path's first part."""
        parts = [part for part in same_name(given).replace("\\", "/").split("/") if part]
        return _first(self._paths, ["/".join(parts[n:]) for n in range(min(len(parts), 3))])

    def _by_image(self, given: str) -> list[str]:
        if not given:
            raise BadValue(Reason.BAD_IMAGE_NAME.value, "no image named")
        if found := self._by_path(given) or self._by_uid["SOP"].get(given, []):
            return found
        return [] if "/" in given else _first(self._names, [same_name(given)])

    def _only(self, paths: Sequence[str]) -> Found:
        if not paths:
            raise BadValue(Reason.MISSING.value, "no file of this name among the images")
        if len(paths) > 1:
            raise BadValue(Reason.SEVERAL_FILES.value, f"{len(paths)} files are meant by this name")
        return self._found(paths[0])

    def _found(self, path: str) -> Found:
        whole = str(self._root / path)
        one = self._dicoms.get(path)
        return Found(whole, path, one.values, one.reason, one.detail) if one else Found(whole, path)


def _first(known: Sequence[Mapping[str, list[str]]], names: Sequence[str]) -> list[str]:
    """Where the first known of these names leads; as they are written, then whatever their case."""
    for form, paths in zip(_FORMS, known, strict=True):
        for name in names:
            if found := paths.get(form(name)):
                return found
    return []


def image_files(folder: Path) -> Iterator[str]:
    """PNG and JPEG files in a folder and below, relative to it, with "/".

    Raises:
        CxrflowError: a folder can't be read.
    """
    return (path for path in files_below(folder) if same_name(path).lower().endswith(SUFFIXES))


def picked(row: Mapping[str, str], field: str, data: DataConfig) -> str:
    """What a row says in the column of a field of `columns`; "" where there is no such column.

    Raises:
        BadValue: the field's pattern isn't in it.
    """
    column = getattr(data.columns, field)
    text = row.get(column, "") if column else ""
    pattern = data.columns.patterns.get(field)
    if not pattern or not text:
        return text
    match = re.search(pattern, text)
    if not match:
        detail = f"{column} has not the form of columns.patterns.{field}"
        raise BadValue(Reason.BAD_ROW.value, detail)
    return match[1] if match.groups() else match[0]


def _filled(template: str, row: Mapping[str, str]) -> str:
    """A template of columns with a row's values, or as many first characters of them."""

    def value(match: re.Match[str]) -> str:
        text = row.get(match[1], "")
        return text[: int(match[2])] if match[2] else text

    return PLACE.sub(value, template)
