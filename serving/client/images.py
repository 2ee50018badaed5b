"""Image files as they are found, and as they are sent."""

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from serving.client.dicom import is_dicom, render_dicom
from serving.client.settings import ClientConfig
from serving.images import TOO_LARGE, BadImage, check_image

SUFFIXES = (".png", ".jpg", ".jpeg", ".dcm", ".dicom")
_INDEX = "DICOMDIR"  # lists the files of a medium; a DICOM itself


@dataclass(frozen=True)
class Image:
    """What is sent."""

    data: bytes  # PNG or JPEG
    notes: tuple[str, ...] = ()  # what was done to it


def find_files(paths: Iterable[Path]) -> list[Path]:
    """Files as they are, folders as the images in them, recursively, in the order of their names.

    In folders, an image has a known suffix or DICOM's marker; hidden files are none. A folder
    without images stays in the list, for `read_image` to refuse.
    """
    found: dict[Path, None] = {}  # each once, in order
    for path in paths:
        found.update(dict.fromkeys((list(_search(path)) or [path]) if path.is_dir() else [path]))
    return list(found)


def read_image(path: Path, config: ClientConfig) -> Image:
    """The bytes to send: a PNG or JPEG as it is, never rotated by its EXIF; of a DICOM a PNG.

    Content decides what a file is, not its suffix.

    Raises:
        BadImage: the server would refuse it, or there is no image to be had from it.
    """
    if path.is_dir():
        raise BadImage("a folder without PNG, JPEG or DICOM files")
    if path.exists() and not path.is_file():
        raise BadImage("no regular file")
    try:
        with path.open("rb") as file:
            size, start = os.fstat(file.fileno()).st_size, file.read(132)
            dicom = is_dicom(start)
            most = config.dicom.max_bytes if dicom else config.images.max_bytes
            if size > most:
                raise BadImage(TOO_LARGE.format(size, most))
            data = b"" if dicom else start + file.read()
    except OSError as error:
        raise BadImage(f"can't be read: {error.strerror}") from None
    image = Image(*render_dicom(path, config.images, config.dicom)) if dicom else Image(data)
    check_image(image.data, config.images)
    return image


def _search(folder: Path) -> Iterator[Path]:
    for parent, folders, files in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(files):
            path = Path(parent, name)
            if not name.startswith(".") and name != _INDEX and _looks_like_image(path):
                yield path


def _looks_like_image(path: Path) -> bool:
    if path.suffix.lower() in SUFFIXES:
        return True
    try:
        if not path.is_file():  # a pipe would never end
            return False
        with path.open("rb") as file:
            return is_dicom(file.read(132))
    except OSError:
        return False
