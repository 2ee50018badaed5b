"""The data folder: Kaggle's layouts of ChestX-ray14, found without opening an image."""

import fnmatch
import hashlib
import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from cxrflow.components.ingest import manifest
from cxrflow.components.ingest.data_card import FILE, read_card
from cxrflow.schema.errors import CxrflowError, unreadable
from cxrflow.schema.paths import require_mounted, require_plain
from cxrflow.schema.portable.label_table import SUFFIXES, same_name, shown

TABLES = ("Data_Entry_2017*.csv", "sample_labels.csv", "sample/sample_labels.csv")
IMAGE_PARTS, SAMPLE = "images_*", "sample/images"  # folders beside images/
SYNTHETIC_MARK = "SYNTHETIC.json"  # written by `cxrflow data phantom`


@dataclass(frozen=True)
class DataFolder:
    """Where the parts of a data folder lie."""

    root: Path
    table: Path
    train_val_list: Path | None
    test_list: Path | None
    images: dict[str, str]  # file name, in the form of `same_name` -> path
    repeated: frozenset[str]  # file names that lie in more than one image folder

    @property
    def synthetic(self) -> bool:
        """Whether the folder holds phantoms."""
        return (self.root / SYNTHETIC_MARK).is_file()


def find_folder(root: str | Path) -> DataFolder:
    """Finds table, lists and images below `root`.

    Raises:
        CxrflowError: there is no such folder or it can't be read, no table or several, or no image.
    """
    root = require_folder(root)
    images: dict[str, str] = {}
    repeated = set()
    for entry in _image_entries(root):
        name = same_name(entry.name)
        if name in images:
            repeated.add(name)
        images[name] = entry.path
    table = _find_table(root)
    if not images:
        raise CxrflowError(
            f"{root} has no images: PNG or JPEG files belong into images/, images_*/images/ "
            "or sample/images/"
        )
    # A list that is there but can't be read must stop the run, not change its split.
    lists = [path if os.path.lexists(path) else None for path in _lists(root)]
    return DataFolder(root, table, lists[0], lists[1], images, frozenset(repeated))


def require_folder(root: str | Path) -> Path:
    """`root` as a path, if it is a folder whose name a run can carry.

    Raises:
        CxrflowError: its name isn't UTF-8 or has control characters, or it is no folder.
    """
    require_mounted(root, "--data")
    require_plain(os.path.realpath(root), "--data")
    try:
        found = stat.S_ISDIR(os.stat(root).st_mode)
    except (FileNotFoundError, NotADirectoryError):
        found = False
    except OSError as error:
        raise unreadable(root, error) from None
    if not found:
        raise CxrflowError(
            f"{root} is not a folder; --data takes a folder in Kaggle's layout{half_fetched(root)}"
        )
    return Path(root)


def half_fetched(root: str | Path) -> str:
    """What to add where folder or table are missing: that a download was stopped, or nothing."""
    aside = f"{os.fspath(root).rstrip('/')}.download"
    if os.path.isdir(aside):
        return f": {shown(aside, 4096)} is a download that was stopped, the same command goes on"
    card = read_card(Path(root))
    if card and not card.table:
        return f"; {FILE} is of a download without a table: if it was stopped, run it again"
    return ""


def fingerprint(root: str | Path) -> str:
    """A hash that changes when the data does: table and lists by content, images by stat.

    Reading 45 GB to name a data set would cost minutes at every start of a run, so images count
    with name, size and, unless they are phantoms, time of change; a manifest has these.

    Returns:
        32 hexadecimal digits.

    Raises:
        CxrflowError: `root` is not a folder, can't be read or has no table.
    """
    root = require_folder(root)
    digest = hashlib.blake2b(digest_size=16)
    try:
        for path in (_find_table(root), *_lists(root), root / SYNTHETIC_MARK):
            digest.update(os.fsencode(path.name) + b"\0")
            if path.is_file():
                digest.update(hashlib.blake2b(path.read_bytes()).digest())
        stats = [_stat(entry) for entry in _image_entries(root)]
    except OSError as error:
        raise unreadable(root, error) from None
    # A copy of a run's phantoms is the same data, whether or not it kept the times.
    timed = not (root / SYNTHETIC_MARK).is_file()
    below = len(os.fsencode(root))
    for name, size, changed in sorted(stats):
        about = f"\0{size}\0{changed if timed else 0}\n"
        digest.update(name[below:] + about.encode())
    return digest.hexdigest()


def _stat(entry: os.DirEntry | manifest.Listed) -> tuple[bytes, int, int]:
    """Path, bytes and time of change; -1 where a link can't be followed: one bad image."""
    try:
        status = entry.stat()
    except OSError:
        return os.fsencode(entry.path), -1, -1
    return os.fsencode(entry.path), status.st_size, status.st_mtime_ns


def _lists(root: Path) -> tuple[Path, Path]:
    return root / "train_val_list.txt", root / "test_list.txt"


def _find_table(root: Path) -> Path:
    # The Kaggle sample repeats its table inside sample/: only look there when the root has none.
    names = _names(root)
    tables = [root / n for pattern in TABLES[:2] for n in fnmatch.filter(names, pattern)]
    tables = tables or [path for path in [root / TABLES[2]] if os.path.lexists(path)]
    if len(tables) > 1:
        raise CxrflowError(
            f"{root} has several tables ({', '.join(shown(p.name) for p in tables)}); "
            "keep one of them"
        )
    if not tables:
        raise CxrflowError(
            f"{root} has no table: expected Data_Entry_2017*.csv or sample_labels.csv, with images "
            f"in images/, images_*/images/ or sample/images/{half_fetched(root)}"
        )
    return tables[0]


def write_manifest(root: str | Path) -> int:
    """Writes the manifest of a data folder; returns its number of images.

    Raises:
        CxrflowError: `root` is not a folder, or can't be read or written to.
    """
    root = require_folder(root)
    try:
        # Before the folders are read: what changes while they are is noticed later.
        changed = manifest.changes(_image_folders(root))
        images = (
            manifest.Listed(os.fsdecode(path), size, when)
            for path, size, when in map(_stat, _scanned(root))
        )
        return manifest.write(root, changed, images)
    except OSError as error:
        raise unreadable(root, error) from None


def _image_entries(root: Path) -> Iterator[os.DirEntry | manifest.Listed]:
    """The images, as the manifest lists them or as they lie there."""
    listed = manifest.read(root, _image_folders(root))
    yield from _scanned(root) if listed is None else listed


def _scanned(root: Path) -> Iterator[os.DirEntry]:
    """The files in the image folders whose names are those of images."""
    for folder in _image_folders(root):
        try:
            with os.scandir(folder) as entries:
                for entry in entries:
                    name = same_name(entry.name).lower()
                    if name.endswith(SUFFIXES) and name[0] != "." and _may_be_file(entry):
                        yield entry
        except OSError as error:
            raise unreadable(folder, error) from None


def _image_folders(root: Path) -> Iterator[Path]:
    """Each folder of images once."""
    seen: set[tuple[int, int]] = set()
    parts = fnmatch.filter(_names(root), IMAGE_PARTS)
    for folder in (root / "images", *(root / part / "images" for part in parts), root / SAMPLE):
        try:
            if not folder.is_dir():
                if folder.is_symlink():
                    raise CxrflowError(f"{shown(str(folder), 4096)} is a link to no folder")
                continue
            status = os.stat(folder)
        except OSError as error:
            raise unreadable(folder, error) from None
        if (status.st_dev, status.st_ino) not in seen:  # else through a link
            seen.add((status.st_dev, status.st_ino))
            yield folder


def _may_be_file(entry: os.DirEntry) -> bool:
    """Whether it is a file, or something that will be found out when it is opened."""
    try:
        return entry.is_file()
    except OSError:  # a link to itself, for example: one bad image among the others
        return True


def _names(folder: Path) -> list[str]:
    try:
        return sorted(os.listdir(folder))
    except OSError as error:
        raise unreadable(folder, error) from None
