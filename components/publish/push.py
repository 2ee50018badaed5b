"""Puts a model into a serving folder, whole or not at all."""

import fcntl
import hashlib
import json
import os
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import BinaryIO

from schema.errors import CxrflowError

MANIFEST = "manifest.json"
# A server takes only folders with a whole number as their name for versions.
_ASIDE = ".push-"
_LOCK = ".lock"
_CHUNK = 1 << 20


@dataclass(frozen=True)
class File:
    """One file of a pushed model."""

    path: str  # relative, with forward slashes
    size: int  # bytes
    sha256: str


def push(model_dir: Path, base_dir: Path) -> Path:
    """Copies a SavedModel to `base_dir/<version>/` and returns that folder.

    The copy is written aside on the same filesystem, synced, given a manifest of SHA-256 sums and
    renamed, so that a crash at any moment leaves either no version or a whole one. Versions are
    Unix times in seconds, and always higher than those there. A model that is the newest version
    already isn't copied again. What a dead push left behind is removed.

    Args:
        model_dir: folder with `saved_model.pb`.
        base_dir: `<serving root>/<model name>`; made if missing.

    Raises:
        CxrflowError: there is no SavedModel, or the folder can't be written.
    """
    if not (model_dir / "saved_model.pb").is_file():
        raise CxrflowError(f"There is no SavedModel in {model_dir}: nothing to push.")
    try:
        base_dir.mkdir(parents=True, exist_ok=True)
        with _lock(base_dir):
            return _push(model_dir, base_dir)
    except OSError as error:
        reason = error.strerror or str(error)
        raise CxrflowError(f"The model can't be pushed to {base_dir}: {reason}.") from error


def versions(base_dir: Path) -> list[int]:
    """Versions in a serving folder, lowest first."""
    if not base_dir.is_dir():
        return []
    return sorted(int(p.name) for p in base_dir.iterdir() if p.name.isdecimal() and p.is_dir())


def published(base_dir: Path) -> str:
    """The newest version and whether it is whole, as "1795380000 whole"; empty without one.

    Part of the push node's cache key: with it, a push is due again when the folder was emptied or
    damaged, or when the settings went back to an older model's.
    """
    there = versions(base_dir)
    if not there:
        return ""
    return f"{there[-1]} {'damaged' if verify(base_dir / str(there[-1])) else 'whole'}"


def verify(version_dir: Path) -> list[str]:
    """Compares a pushed version with its manifest; says what is wrong, nothing if it is whole."""
    try:
        listed = _read_manifest(version_dir)
    except (OSError, ValueError, TypeError, KeyError) as error:
        return [f"{MANIFEST} can't be read: {error}"]
    here = {path: _read(version_dir, path) for path in _paths(version_dir)}
    problems = [f"{path} isn't in {MANIFEST}" for path in here.keys() - listed.keys()]
    for path, file in listed.items():
        if path not in here:
            problems.append(f"{path} is missing")
        elif here[path] != file:
            problems.append(f"{path} was changed")
    return sorted(problems)


def _push(model_dir: Path, base_dir: Path) -> Path:
    for stale in base_dir.glob(f"{_ASIDE}*"):
        shutil.rmtree(stale)
    there = versions(base_dir)
    if there:
        newest = base_dir / str(there[-1])
        source = {path: _read(model_dir, path) for path in _paths(model_dir)}
        if not verify(newest) and _read_manifest(newest) == source:
            return newest
    version = max(int(time.time()), there[-1] + 1 if there else 0)
    aside = base_dir / f"{_ASIDE}{version}"
    try:
        files = _copy(model_dir, aside)
        _write_manifest(aside, version, files)
        target = base_dir / str(version)
        aside.rename(target)
    except BaseException:
        shutil.rmtree(aside, ignore_errors=True)
        raise
    _sync_dir(base_dir)
    return target


@contextmanager
def _lock(base_dir: Path) -> Iterator[None]:
    """One push at a time into a folder; the lock goes with its process, however that ends."""
    with open(base_dir / _LOCK, "w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _copy(source: Path, target: Path) -> list[File]:
    """Copies a tree with every byte on disk before it returns; sums are of the bytes read."""
    target.mkdir()
    files = []
    for path in _paths(source):
        copy = target / path
        copy.parent.mkdir(parents=True, exist_ok=True)
        with open(copy, "wb") as writer:
            files.append(_read(source, path, writer))
            writer.flush()
            os.fsync(writer.fileno())
    for folder, _, _ in os.walk(target):
        _sync_dir(Path(folder))
    return files


def _paths(directory: Path) -> list[str]:
    """Relative paths of a model's files, without the manifest."""
    files = (p.relative_to(directory).as_posix() for p in directory.rglob("*") if p.is_file())
    return sorted(path for path in files if path != MANIFEST)


def _read(directory: Path, path: str, copy: BinaryIO | None = None) -> File:
    digest, size = hashlib.sha256(), 0
    with open(directory / path, "rb") as reader:
        while chunk := reader.read(_CHUNK):
            digest.update(chunk)
            size += len(chunk)
            if copy:
                copy.write(chunk)
    return File(path, size, digest.hexdigest())


def _write_manifest(directory: Path, version: int, files: list[File]) -> None:
    manifest = {"version": version, "files": [asdict(f) for f in files]}
    with open(directory / MANIFEST, "w") as file:
        file.write(json.dumps(manifest, indent=1) + "\n")
        file.flush()
        os.fsync(file.fileno())
    _sync_dir(directory)


def _read_manifest(version_dir: Path) -> dict[str, File]:
    manifest = json.loads((version_dir / MANIFEST).read_text())
    return {f["path"]: File(**f) for f in manifest["files"]}


def _sync_dir(directory: Path) -> None:
    fd = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
