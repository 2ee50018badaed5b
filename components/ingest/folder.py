"""The data folder: Kaggle's layouts of ChestX-ray14, found without opening an image."""

import hashlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from schema.errors import CxrflowError

TABLES = ("Data_Entry_2017*.csv", "sample_labels.csv", "sample/sample_labels.csv")
IMAGE_FOLDERS = ("images", "images_*/images", "sample/images")
SUFFIXES = (".png", ".jpg", ".jpeg")
SYNTHETIC_MARK = "SYNTHETIC.json"  # written by `cxrflow data phantom`


@dataclass(frozen=True)
class DataFolder:
    """Where the parts of a data folder lie."""

    root: Path
    table: Path
    train_val_list: Path | None
    test_list: Path | None
    images: dict[str, str]  # file name -> path
    repeated: frozenset[str]  # file names that lie in more than one image folder

    @property
    def synthetic(self) -> bool:
        """Whether the folder holds phantoms."""
        return (self.root / SYNTHETIC_MARK).is_file()


def find_folder(root: str | Path) -> DataFolder:
    """Finds table, lists and images below `root`.

    Raises:
        CxrflowError: there is no such folder, no table or several, or no image.
    """
    root = Path(root)
    if not root.is_dir():
        raise CxrflowError(f"{root} is not a folder; --data takes a folder in Kaggle's layout")
    images: dict[str, str] = {}
    repeated = set()
    for entry in _image_entries(root):
        if entry.name in images:
            repeated.add(entry.name)
        images[entry.name] = entry.path
    table = _find_table(root)
    if not images:
        raise CxrflowError(
            f"{root} has no images: PNG or JPEG files belong into images/, images_*/images/ "
            "or sample/images/"
        )
    lists = [p if p.is_file() else None for p in _lists(root)]
    return DataFolder(root, table, lists[0], lists[1], images, frozenset(repeated))


def fingerprint(root: str | Path) -> str:
    """A hash that changes when the data does: table and lists by content, images by stat.

    Reading 45 GB to name a data set would cost minutes at every start of a run, so images count
    with name, size and time of change.

    Returns:
        32 hexadecimal digits.

    Raises:
        CxrflowError: `root` is not a folder or has no table.
    """
    root = Path(root)
    if not root.is_dir():
        raise CxrflowError(f"{root} is not a folder; --data takes a folder in Kaggle's layout")
    digest = hashlib.blake2b(digest_size=16)
    for path in (_find_table(root), *_lists(root), root / SYNTHETIC_MARK):
        digest.update(path.name.encode() + b"\0")
        if path.is_file():
            digest.update(hashlib.blake2b(path.read_bytes()).digest())
    stats = [(entry.path, entry.stat()) for entry in _image_entries(root)]
    for path, stat in sorted(stats, key=lambda s: s[0]):
        digest.update(f"{path[len(str(root)) :]}\0{stat.st_size}\0{stat.st_mtime_ns}\n".encode())
    return digest.hexdigest()


def _lists(root: Path) -> tuple[Path, Path]:
    return root / "train_val_list.txt", root / "test_list.txt"


def _find_table(root: Path) -> Path:
    # The Kaggle sample repeats its table inside sample/: only look there when the root has none.
    tables = sorted(p for pattern in TABLES[:2] for p in root.glob(pattern))
    tables = tables or [p for p in [root / TABLES[2]] if p.is_file()]
    if len(tables) > 1:
        names = ", ".join(p.name for p in tables)
        raise CxrflowError(f"{root} has several tables ({names}); keep one of them")
    if not tables:
        raise CxrflowError(
            f"{root} has no table: expected Data_Entry_2017*.csv or sample_labels.csv, with images "
            "in images/, images_*/images/ or sample/images/"
        )
    return tables[0]


def _image_entries(root: Path) -> Iterator[os.DirEntry]:
    for pattern in IMAGE_FOLDERS:
        for folder in sorted(root.glob(pattern)):
            if folder.is_dir():
                with os.scandir(folder) as entries:
                    for entry in entries:
                        name = entry.name.lower()
                        if name.endswith(SUFFIXES) and name[0] != "." and entry.is_file():
                            yield entry
