"""A model version's manifest: the SHA-256 sums by which a server knows that it is whole."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

from cxrflow.schema.files import write_whole

MANIFEST = "manifest.json"
SIGNATURE = "manifest.sig"  # of the manifest, see `signature`
_CHUNK = 1 << 20


@dataclass(frozen=True)
class File:
    """One file of a model version."""

    path: str  # relative, with forward slashes
    size: int  # bytes
    sha256: str


@dataclass(frozen=True)
class Manifest:
    """What `manifest.json` says."""

    version: int
    files: tuple[File, ...]
    notes: dict[str, Any] = field(default_factory=dict)  # for people: the gate's AUCs


def verify(version_dir: Path) -> list[str]:
    """Compares `<model>/<version>/` with its manifest; says what is wrong, nothing if it is whole.

    Reads every byte. Links are refused, since what they point to may change or lie anywhere.
    """
    try:
        manifest = read_manifest(version_dir)
    except (OSError, ValueError, TypeError, KeyError) as error:
        return [f"{MANIFEST} can't be read: {error}"]
    problems = []
    if str(manifest.version) != version_dir.name:
        problems.append(f"{MANIFEST} is version {manifest.version}'s")
    for path in version_dir.rglob("*"):
        if path.is_symlink() or not (path.is_file() or path.is_dir()):
            problems.append(f"{path.relative_to(version_dir).as_posix()} is no plain file")
    listed = {file.path: file for file in manifest.files}
    here = file_paths(version_dir)
    problems += [f"{path} isn't in {MANIFEST}" for path in set(here) - listed.keys()]
    problems += [f"{path} is missing" for path in listed.keys() - set(here)]
    for name in here:
        try:
            if name in listed and read_file(version_dir, name) != listed[name]:
                problems.append(f"{name} was changed")
        except OSError as error:
            problems.append(f"{name} can't be read: {error.strerror}")
    return sorted(problems)


def read_manifest(version_dir: Path) -> Manifest:
    """Reads `manifest.json`. Raises OSError, ValueError, TypeError or KeyError if it is damaged."""
    fields = json.loads((version_dir / MANIFEST).read_text(encoding="utf-8"))
    files = tuple(File(**file) for file in fields["files"])
    return Manifest(int(fields["version"]), files, dict(fields.get("notes") or {}))


def write_manifest(directory: Path, manifest: Manifest) -> None:
    """Writes `manifest.json` and syncs it to the disk."""
    fields = {
        "version": manifest.version,
        "files": [asdict(file) for file in manifest.files],
        "notes": manifest.notes,
    }
    text = json.dumps(fields, indent=1, allow_nan=False) + "\n"
    write_whole(directory / MANIFEST, text, sync=True)


def same_files(version_dir: Path, files: Sequence[File]) -> bool:
    """Whether a version is whole and holds exactly these files."""
    return not verify(version_dir) and set(read_manifest(version_dir).files) == set(files)


def file_paths(directory: Path) -> list[str]:
    """Relative paths of all files but the manifest and its signature, sorted."""
    files = (p.relative_to(directory).as_posix() for p in directory.rglob("*") if p.is_file())
    return sorted(path for path in files if path not in (MANIFEST, SIGNATURE))


def read_file(directory: Path, path: str, copy: BinaryIO | None = None) -> File:
    """Sums up one file, and writes the bytes read to `copy`."""
    digest, size = hashlib.sha256(), 0
    with open(directory / path, "rb") as reader:
        while chunk := reader.read(_CHUNK):
            digest.update(chunk)
            size += len(chunk)
            if copy:
                copy.write(chunk)
    return File(path, size, digest.hexdigest())
