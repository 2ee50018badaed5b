"""A gzipped tar archive, read once: hashed, bounded, verified and unpacked on the way."""

import gzip
import hashlib
import io
import os
import tarfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from cxrflow.components.ingest.fetch.bounds import BOUNDS, Bounds, Damaged, Unsafe, safe_name
from cxrflow.components.ingest.fetch.written import require_whole_png
from cxrflow.schema.portable.label_table import shown

_CHUNK_BYTES = 2**20
_BROKEN = (tarfile.TarError, zlib.error, EOFError, gzip.BadGzipFile)


@dataclass(frozen=True)
class Untarred:
    """What came out of an archive, and its own hashes."""

    files: int
    images: int
    bytes: int
    sha256: str
    md5: str


class _Hashed(io.RawIOBase):
    """The archive's bytes as they are read, once, from the first to the last."""

    def __init__(self, file: BinaryIO, moved: Callable[[int], None]) -> None:
        self._file, self._moved = file, moved
        self.sha256 = hashlib.sha256()
        self.md5 = hashlib.md5(usedforsecurity=False)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: "memoryview") -> int:  # type: ignore[override]
        data = self._file.read(len(buffer))
        buffer[: len(data)] = data
        self.sha256.update(data)
        self.md5.update(data)
        self._moved(len(data))
        return len(data)


class _Bounded(io.RawIOBase):
    """What the archive inflates to; ends a bomb before it is large, in a file or in memory."""

    def __init__(self, file: gzip.GzipFile, most: int, name: str) -> None:
        self._file, self._most, self._name = file, most, name

    def read(self, size: int = -1) -> bytes:
        # Headers of tar say how long they are, and tarfile reads them in one piece.
        if not 0 <= size <= _CHUNK_BYTES or self._file.tell() + size > self._most:
            raise Unsafe(f"{self._name} unpacks to far too much: that is no archive of X-rays")
        return self._file.read(size)

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        if whence != os.SEEK_SET or offset > self._most:
            raise Unsafe(f"{self._name} unpacks to far too much: that is no archive of X-rays")
        return self._file.seek(offset)

    def tell(self) -> int:
        return self._file.tell()


def untar(
    archive: Path, to: Path, moved: Callable[[int], None], bounds: Bounds = BOUNDS
) -> Untarred:
    """Unpacks all of an archive into the empty folder `to`.

    Args:
        archive: of plain files and folders.
        to: the folder.
        moved: is told how many bytes of the archive have been read since the last call.
        bounds: of what it may hold.

    Raises:
        Damaged: the archive is cut short, its checksum or a PNG's structure is wrong.
        Unsafe: a member wants to go elsewhere, is no plain file, or unpacks to too much.
        OSError: a file can't be written.
    """
    packed = archive.stat().st_size
    with archive.open("rb", buffering=0) as file:
        hashed = _Hashed(file, moved)
        try:
            with gzip.GzipFile(fileobj=io.BufferedReader(hashed, _CHUNK_BYTES)) as inflated:
                bounded = _Bounded(inflated, bounds.most_bytes(packed), archive.name)
                files, images, size = _members(bounded, to, archive.name, packed, bounds)
                while rest := bounded.read(_CHUNK_BYTES):  # gzip's checksum is at the end
                    if any(rest):  # tarfile takes a broken header for the end
                        raise tarfile.ReadError("a header within it is broken")
        except _BROKEN as error:
            raise Damaged(f"{archive.name} is damaged ({error})") from None
    return Untarred(files, images, size, hashed.sha256.hexdigest(), hashed.md5.hexdigest())


def _members(
    bounded: _Bounded, to: Path, name: str, packed: int, bounds: Bounds
) -> tuple[int, int, int]:
    """Writes all members; counts files, images and bytes."""
    members = files = images = size = 0
    with tarfile.TarFile(fileobj=bounded) as source:
        while member := source.next():
            path = to / safe_name(member.name, name)
            members += 1
            size += member.size
            bounds.require(members, size, packed, name)
            if member.isdir():
                path.mkdir(parents=True, exist_ok=True)
                continue
            if not member.isreg() or member.issparse():
                raise Unsafe(f"{shown(member.name)} in {name} is a link, a device or has holes")
            path.parent.mkdir(parents=True, exist_ok=True)
            _write(source, member, path, name)
            require_whole_png(path, f"{name}: {member.name}")
            files += 1
            images += path.suffix.lower() == ".png"
    return files, images, size


def _write(source: tarfile.TarFile, member: tarfile.TarInfo, path: Path, name: str) -> None:
    packed = source.extractfile(member)
    assert packed  # a regular file
    try:
        file = path.open("xb")
    except FileExistsError:
        raise Unsafe(f"{name} has {shown(member.name)} twice") from None
    with packed, file:
        while data := packed.read(_CHUNK_BYTES):
            file.write(data)
        if file.tell() != member.size:
            raise Damaged(f"{name} is damaged (it ends within {shown(member.name)})")
