"""A ZIP archive, looked at before anything is written, then unpacked and verified in parallel."""

import os
import shutil
import stat
import struct
import threading
import zipfile
import zlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from cxrflow.components.ingest.fetch.bounds import (
    ADVICE,
    BOUNDS,
    Bounds,
    Damaged,
    Unsafe,
    safe_name,
)
from cxrflow.components.ingest.fetch.written import require_whole_png
from cxrflow.schema.portable.label_table import shown
from cxrflow.schema.progress import report as report_progress
from cxrflow.schema.space import require_space

_CHUNK_BYTES = 2**20
_BATCH = 64  # members
# What zipfile raises on damage; ValueError for names that aren't UTF-8.
_BROKEN = (
    *(zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError, ValueError),
    struct.error,
)
_ENCRYPTED = 0x1


@dataclass(frozen=True)
class Unpacked:
    """What came out of an archive."""

    files: int
    images: int
    bytes: int


def unzip(archive: Path, to: Path, bounds: Bounds = BOUNDS) -> Unpacked:
    """Unpacks all of an archive into `to`, verifying every member.

    A file that lies there already is kept if it has the member's size and checksum, so that an
    interrupted call is gone on from; what isn't in the archive is removed.

    Raises:
        Damaged: a checksum, the archive's directory or a PNG's structure is wrong.
        Unsafe: a member wants to go elsewhere, is no plain file, or unpacks to too much; nothing
            has been written.
        CxrflowError: the disk is too full for all of them; nothing has been written.
        OSError: a file can't be written.
    """
    with archive.open("rb") as file, _damage(archive):
        # A file of ours: ZipFile's count of its readers, which closes one of its own, isn't exact
        # between threads.
        source = zipfile.ZipFile(file)
        members = _judged(source, archive, bounds)
        to.mkdir(parents=True, exist_ok=True)
        _remove_others(to, members)
        total = sum(member.file_size for member in members.values())
        require_space(to, total - bytes_in(to), f"the files of {archive.name}", ADVICE)
        for folder in {path.parent for path in members}:
            (to / folder).mkdir(parents=True, exist_ok=True)
        _write_all(source, members, to, total)
    images = sum(path.suffix.lower() == ".png" for path in members)
    return Unpacked(len(members), images, total)


@contextmanager
def _damage(archive: Path) -> Iterator[None]:
    try:
        yield
    except _BROKEN as error:
        raise Damaged(f"{archive.name} is damaged ({error})") from None


def _judged(source: zipfile.ZipFile, archive: Path, bounds: Bounds) -> dict[Path, zipfile.ZipInfo]:
    """The files of an archive by their safe paths."""
    packed = os.fstat(source.fp.fileno()).st_size if source.fp else 0
    infos = source.infolist()
    bounds.require(len(infos), sum(i.file_size for i in infos), packed, archive.name)
    if sum(info.compress_size for info in infos) > packed:
        raise Unsafe(f"files overlap in {archive.name}: that is no archive of X-rays")
    offsets = [info.header_offset for info in infos]
    if not offsets or min(offsets) != 0 or max(offsets) >= packed:
        raise zipfile.BadZipFile("it has other bytes before its first file, or lacks some")
    members: dict[Path, zipfile.ZipInfo] = {}
    for info in infos:
        path = Path(safe_name(info.filename, archive.name))
        kind = stat.S_IFMT(info.external_attr >> 16)
        if kind not in (0, stat.S_IFREG, stat.S_IFDIR) or info.flag_bits & _ENCRYPTED:
            raise Unsafe(
                f"{shown(info.filename)} in {archive.name} is encrypted, a link or a device"
            )
        large = info.file_size > bounds.spare_member_bytes
        if large and info.file_size > bounds.member_ratio * info.compress_size:
            raise Unsafe(
                f"{shown(info.filename)} in {archive.name} unpacks to {info.file_size:,} bytes "
                f"from {info.compress_size:,}: that is no archive of X-rays"
            )
        if info.is_dir():
            continue
        if path in members:
            raise Unsafe(f"{archive.name} has {shown(info.filename)} twice")
        members[path] = info
    return members


def _remove_others(to: Path, members: dict[Path, zipfile.ZipInfo]) -> None:
    """Removes what an interrupted call for another archive, or somebody else, has left."""
    folders = {parent for path in members for parent in path.parents}
    for at, names, files in os.walk(to):
        below = Path(at).relative_to(to)
        for name in files:
            if below / name not in members or (Path(at) / name).is_symlink():
                (Path(at) / name).unlink()
        for name in list(names):
            path = Path(at) / name
            if path.is_symlink():
                path.unlink()
            elif below / name not in folders:
                shutil.rmtree(path)
                names.remove(name)


def bytes_in(folder: Path) -> int:
    """Bytes of the files below a folder; none where there is no such folder."""
    return sum(p.stat().st_size for p in folder.rglob("*") if p.is_file())


def _write_all(
    source: zipfile.ZipFile, members: dict[Path, zipfile.ZipInfo], to: Path, total: int
) -> None:
    order = sorted(members.items(), key=lambda item: item[1].header_offset)
    done = 0
    lock = threading.Lock()

    def write(batch: list[tuple[Path, zipfile.ZipInfo]]) -> None:
        nonlocal done
        for path, info in batch:
            _write(source, info, to / path)
            with lock:
                done += info.file_size
            report_progress(done, total, "bytes")

    pool = ThreadPoolExecutor(os.cpu_count())  # inflating, checksums and writing release the GIL
    try:
        batches = [order[i : i + _BATCH] for i in range(0, len(order), _BATCH)]
        for _ in pool.map(write, batches):
            pass
    finally:
        pool.shutdown(cancel_futures=True)


def _write(source: zipfile.ZipFile, info: zipfile.ZipInfo, path: Path) -> None:
    """Writes one member, if it isn't there; zipfile verifies its checksum."""
    if not _is_there(path, info):
        with source.open(info) as packed, path.open("wb") as file:
            shutil.copyfileobj(packed, file, _CHUNK_BYTES)
            if file.tell() != info.file_size:
                raise zipfile.BadZipFile(f"{info.filename!r} has {file.tell():,} bytes")
    require_whole_png(path, info.filename)


def _is_there(path: Path, info: zipfile.ZipInfo) -> bool:
    try:
        with path.open("rb") as file:
            if os.fstat(file.fileno()).st_size != info.file_size:
                return False
            crc = 0
            while data := file.read(_CHUNK_BYTES):
                crc = zlib.crc32(data, crc)
            return crc == info.CRC
    except FileNotFoundError:
        return False
