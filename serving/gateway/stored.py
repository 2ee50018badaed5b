"""Received images as files: PS3.10 with who sent them, and what was sent, byte for byte, behind."""

import hashlib
from dataclasses import dataclass
from pathlib import Path

from pydicom.filebase import DicomBytesIO
from pydicom.filereader import read_file_meta_info
from pydicom.filewriter import write_file_meta_info
from pydicom.uid import UID
from pynetdicom.dsutils import create_file_meta

_PREAMBLE = bytes(128) + b"DICM"
_CHUNK = 2**20


@dataclass(frozen=True)
class Origin:
    """Where a file came from."""

    sender: str  # AE title
    sha256: str  # of the data set as it came
    received: float  # Unix time


def file_start(sop_class: str, sop: str, syntax: str, sender: str) -> bytes:
    """What stands before a data set in a file: preamble and file meta information."""
    meta = create_file_meta(
        sop_class_uid=UID(sop_class), sop_instance_uid=UID(sop), transfer_syntax=UID(syntax)
    )
    meta.SourceApplicationEntityTitle = sender
    written = DicomBytesIO()
    write_file_meta_info(written, meta, enforce_standard=True)
    return _PREAMBLE + written.getvalue()


def origin(path: Path) -> Origin:
    """What a file that begins so says of its coming."""
    meta = read_file_meta_info(path)
    digest = hashlib.sha256()
    with path.open("rb") as file:
        # The group's length counts what follows its own element of 12 bytes.
        file.seek(len(_PREAMBLE) + 12 + int(meta.FileMetaInformationGroupLength))
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
    sender = str(meta.get("SourceApplicationEntityTitle", ""))
    return Origin(sender, digest.hexdigest(), path.stat().st_mtime)
