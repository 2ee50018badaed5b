"""Image files in folders, found by what they hold; nothing is left out without a reason.

Imports neither pydicom nor TensorFlow.
"""

import os
import stat
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from cxrflow.schema.dicom.render import is_dicom
from cxrflow.schema.portable.image_rules import EMPTY, JPEG_START, PNG_START

# Why a file or folder is left out. These may hold an image, and somebody should look at them:
UNREADABLE = "can't be read: {}"
NO_IMAGES = "a folder without PNG, JPEG or DICOM files"
MISNAMED = "named {}, but neither a PNG, a JPEG nor a DICOM"
OTHER_FORMAT = "a {}: PNG, JPEG and DICOM are accepted"
# These don't:
NO_IMAGE = "no image"
NO_FILE = "no regular file"
HIDDEN = "hidden"
INDEX = "a DICOMDIR, which only lists files"
SEEN = "a link to a folder that was looked at already"

_START = 1024  # bytes that tell what a file is; a DICOM's SOP class stands in them
_SUFFIXES = (
    *(".png", ".jpg", ".jpeg", ".jpe", ".jfif", ".jif", ".dcm", ".dicom", ".dic", ".ima"),
    *(".tif", ".tiff", ".bmp", ".gif", ".webp", ".jp2", ".j2k", ".jls", ".heic", ".avif", ".jxl"),
)
_OTHERS = {
    b"II*\0": "TIFF",
    b"MM\0*": "TIFF",
    b"GIF8": "GIF",
    b"\0\0\0\x0cjP  ": "JPEG 2000",
    b"\xff\x4f\xff\x51": "JPEG 2000",
}
_DICOMDIR = b"1.2.840.10008.1.3.10"  # Media Storage Directory, PS3.4 annex B.5


@dataclass(frozen=True)
class Skipped:
    """A file or folder that is left out."""

    path: Path
    reason: str  # one line, the same words for the same reason
    bad: bool = False  # it may hold an image: unreadable, empty, another format


@dataclass(frozen=True)
class Found:
    """What there is below some paths, each path once, in the order of the search."""

    images: list[Path]
    skipped: list[Skipped]


def find_images(paths: Iterable[Path]) -> Found:
    """Files as they are given; of folders the PNG, JPEG and DICOM files, recursively, by name.

    Contents decide, not suffixes, so a DICOM may lack its preamble. A link is followed, into each
    folder once. Never raises, nor waits for a pipe. A folder given that holds no image, and nothing
    that may be one, is a bad path itself.
    """
    found: dict[Path, Skipped | None] = {}  # None: an image
    seen: set[tuple[int, int]] = set()
    for path in paths:
        if not os.path.isdir(path):
            found[path] = None  # whatever it is: reading it tells
            continue
        below = list(_search(path, seen))
        for child, skipped in below:
            found.setdefault(child, skipped)
        if all(skipped and not skipped.bad and skipped.reason != SEEN for _, skipped in below):
            found[path] = Skipped(path, NO_IMAGES, bad=True)
    return Found(
        [path for path, skipped in found.items() if skipped is None],
        [skipped for skipped in found.values() if skipped],
    )


def _search(folder: Path, seen: set[tuple[int, int]]) -> Iterator[tuple[Path, Skipped | None]]:
    """Every file below a folder, its own files first."""
    waiting = [folder]
    while waiting:
        folder = waiting.pop()
        try:
            status = os.stat(folder)
            identity = status.st_dev, status.st_ino
            names = [] if identity in seen else sorted(os.listdir(folder))
        except OSError as error:
            yield _skip(folder, UNREADABLE.format(error.strerror), bad=True)
            continue
        if identity in seen:
            yield _skip(folder, SEEN)
            continue
        seen.add(identity)
        folders = []
        for name in names:
            path = folder / name
            if name.startswith("."):
                yield _skip(path, HIDDEN)
            elif os.path.isdir(path):
                folders.append(path)
            else:
                yield path, _why_not(path)
        waiting += reversed(folders)


def _why_not(path: Path) -> Skipped | None:
    """Why a file found in a folder is no image; None if it is one."""
    try:
        if not stat.S_ISREG(os.stat(path).st_mode):  # opening a pipe would wait for its writer
            return Skipped(path, NO_FILE)
        with open(path, "rb") as file:
            start = file.read(_START)
    except OSError as error:
        return Skipped(path, UNREADABLE.format(error.strerror), bad=True)
    suffix = path.suffix.lower()
    if not start:
        return Skipped(path, EMPTY, bad=suffix in ("", *_SUFFIXES))
    if is_dicom(start):
        return Skipped(path, INDEX) if _DICOMDIR in start else None
    if start.startswith((PNG_START[:4], JPEG_START)):  # a damaged one is found when it is read
        return None
    if kind := _other_format(start):
        return Skipped(path, OTHER_FORMAT.format(kind), bad=True)
    if suffix in _SUFFIXES:
        return Skipped(path, MISNAMED.format(suffix), bad=True)
    return Skipped(path, NO_IMAGE)


def _skip(path: Path, reason: str, bad: bool = False) -> tuple[Path, Skipped]:
    return path, Skipped(path, reason, bad)


def _other_format(start: bytes) -> str | None:
    """The name of an image format that isn't accepted."""
    if start.startswith(b"BM") and start[6:10] == bytes(4):
        return "BMP"
    if start.startswith(b"RIFF") and start[8:12] == b"WEBP":
        return "WebP"
    return next((kind for magic, kind in _OTHERS.items() if start.startswith(magic)), None)
