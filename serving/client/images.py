"""Image files as they are sent."""

import os
import stat
from dataclasses import dataclass
from pathlib import Path

from cxrflow.schema.dicom.render import DicomIdentity, is_dicom, read_dicom
from cxrflow.schema.image_rules import BadImage, check_image
from cxrflow.schema.portable.image_rules import TOO_LARGE
from cxrflow.serving.client.files import NO_FILE, UNREADABLE
from cxrflow.serving.client.settings import ClientConfig


@dataclass(frozen=True)
class Image:
    """What is sent."""

    data: bytes  # PNG or JPEG
    notes: tuple[str, ...] = ()  # what to doubt about it, and what was done to it
    dicom: DicomIdentity | None = None  # of a DICOM


def read_image(path: Path, config: ClientConfig) -> Image:
    """The bytes to send: a PNG or JPEG as it is, never rotated by its EXIF; of a DICOM a PNG.

    Content decides what a file is, not its suffix.

    Raises:
        BadImage: the server would refuse it, there is no image to be had from it, or `strict` and
            something speaks against a DICOM.
    """
    try:
        # Without this flag, opening a pipe would wait for its writer.
        with open(os.open(path, os.O_RDONLY | os.O_NONBLOCK), "rb") as file:
            status = os.fstat(file.fileno())
            if not stat.S_ISREG(status.st_mode):
                raise BadImage(NO_FILE)
            start = file.read(132)
            dicom = is_dicom(start)
            most = config.dicom.max_bytes if dicom else config.images.max_bytes
            if status.st_size > most:
                raise BadImage(TOO_LARGE, status.st_size, most)
            data = b"" if dicom else start + file.read()
    except OSError as error:
        raise BadImage(UNREADABLE.format(error.strerror)) from None
    image = _render(path, config) if dicom else Image(data)
    check_image(image.data, config.images)
    return image


def _render(path: Path, config: ClientConfig) -> Image:
    picture = read_dicom(path, config.images, config.dicom)
    if config.strict and picture.doubts:
        raise BadImage(f"refused by --strict: {'; '.join(picture.doubts)}")
    return Image(picture.png, picture.doubts + picture.notes, picture.identity)
