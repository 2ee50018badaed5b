"""A model's versions in the serving root, and labels.json, which says which are served and how.

Push, server and commands ask this module alone what is a model and what a version:

    <serving root>/<model name>/<version>/     whole numbers, whole or not there at all
    <serving root>/<model name>/labels.json    {"labels": {"stable": 5, "canary": 7},
                                                "pinned": null, "previous": 3}

`stable` is what is served, to requests that name no version too. Without labels.json it is the
newest version. A push moves `stable` to what it pushed, unless `pinned` holds it where it is;
`previous` was stable before.
"""

import json
import os
import re
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path

from cxrflow.schema import files
from cxrflow.schema.errors import CxrflowError
from cxrflow.schema.files import write_whole
from cxrflow.schema.portable.writing import lock, sync_path

LABELS = "labels.json"
STABLE, CANARY = "stable", "canary"
_LOCK = ".lock"
# Folders on their way in and out: no server takes them for versions.
PUSHED, _REMOVED = ".push-", ".remove-"
# As an int64 prints it: what a server would also read as the same number, "007", isn't one.
_VERSION = re.compile(r"0|[1-9][0-9]{0,18}")
MAX_VERSION = 2**63 - 1  # of ModelSpec.version


@dataclass(frozen=True)
class Labels:
    """What labels.json says."""

    labels: dict[str, int] = field(default_factory=dict)
    pinned: int | None = None  # stable stays on this version, whatever is pushed
    previous: int | None = None  # what was stable before, if known

    def stable(self, there: Sequence[int]) -> int | None:
        """The stable version, given those in the folder; None if there is none to fall back to."""
        if self.pinned is not None:
            return self.pinned
        return self.labels.get(STABLE, max(there, default=None))

    def all(self, there: Sequence[int]) -> dict[str, int]:
        """Every label that names one of the versions `there`, stable included."""
        stable = self.stable(there)
        named = self.labels | ({} if stable is None else {STABLE: stable})
        return {label: version for label, version in named.items() if version in there}

    def before(self, there: Sequence[int]) -> int | None:
        """The version that was stable before, or else the next lower one."""
        stable = self.stable(there)
        if stable is None:
            return None
        if self.previous in there and self.previous != stable:
            return self.previous
        return max((version for version in there if version < stable), default=None)


def serving_root(folder: Path) -> Path:
    """`folder` itself, or its `serving` folder where it is a run's."""
    inside = folder / "serving"
    return inside if inside.is_dir() else folder


def list_versions(model_dir: Path) -> list[int]:
    """Numbers of the version folders, lowest first; whole or damaged. Links are none."""
    there = ((parse_version(path.name), path) for path in _entries(model_dir))
    return sorted(
        number
        for number, path in there
        if number is not None and path.is_dir() and not path.is_symlink()
    )


def served_version(model_dir: Path) -> int | None:
    """The version that answers requests which name none, the stable one; None without any.

    Raises:
        CxrflowError: labels.json is damaged.
    """
    return read_labels(model_dir).stable(list_versions(model_dir))


def list_models(root: Path) -> list[str]:
    """Names of the models in a serving root, those with at least one version, sorted.

    Links and hidden folders are none.
    """
    return sorted(
        path.name
        for path in _entries(root)
        if is_model_name(path.name) and not path.is_symlink() and list_versions(path)
    )


def parse_version(name: str) -> int | None:
    """The number that a folder's name is; None if it is no version's: "007", "-1", above int64."""
    if not _VERSION.fullmatch(name):
        return None
    number = int(name)
    return number if number <= MAX_VERSION else None


def next_version(model_dir: Path, now: float) -> int:
    """The number of the next push: Unix time in seconds, and higher than all that is there.

    Files and links with a number's name count too, since nothing can take their place.

    Raises:
        CxrflowError: no higher number can be.
    """
    taken = [n for path in _entries(model_dir) if (n := parse_version(path.name)) is not None]
    number = max(int(now), max(taken, default=-1) + 1)
    if number > MAX_VERSION:
        raise CxrflowError(
            f"{model_dir / str(max(taken))} has the highest number that a version can have: "
            "remove it, or push another model"
        )
    return number


def is_model_name(name: str) -> bool:
    """Whether a folder of this name can be a model: not hidden, and printable Unicode."""
    return bool(name) and name[0] != "." and name.isprintable() and "/" not in name


def _entries(folder: Path) -> list[Path]:
    """What is in a folder; nothing where it is gone, or was never there."""
    try:
        return list(folder.iterdir())
    except (FileNotFoundError, NotADirectoryError):
        return []


def read_labels(model_dir: Path) -> Labels:
    """Reads labels.json; no labels where there is none.

    Raises:
        CxrflowError: the file holds something else.
    """
    path = model_dir / LABELS
    try:
        fields = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(fields, dict) or not isinstance(fields.get("labels", {}), dict):
            raise ValueError("it must hold an object of labels")
        labels = {str(k): _number(v) for k, v in fields.get("labels", {}).items()}
        pinned, previous = (
            None if fields.get(name) is None else _number(fields[name])
            for name in ("pinned", "previous")
        )
        return Labels(labels, pinned, previous)
    except FileNotFoundError:
        return Labels()
    except (OSError, ValueError) as error:
        raise CxrflowError(
            f"{path} can't be used ({error}): set it anew with `cxrflow models promote "
            "--version N`, or delete it to serve the newest version"
        ) from None


def write_labels(model_dir: Path, labels: Labels) -> None:
    """Writes labels.json, whole or not at all. Call it inside `locked`.

    Raises:
        OSError: it can't be written; names the file.
    """
    try:
        text = json.dumps(asdict(labels), sort_keys=True) + "\n"
        write_whole(model_dir / LABELS, text, sync=True)
    except OSError as error:
        # A write doesn't say which file.
        raise OSError(error.errno, error.strerror, str(model_dir / LABELS)) from None


@contextmanager
def locked(model_dir: Path) -> Iterator[None]:
    """One writer at a time in a model's folder; the lock goes with its process, however it ends."""
    with files.locked(model_dir / _LOCK, wait=True):
        yield


def hold(version_dir: Path) -> int:
    """Keeps a version from being pruned while a server has it loaded.

    Returns:
        A file descriptor; `os.close` lets go, and so does the end of the process.

    Raises:
        FileNotFoundError: the version is gone, or is being removed.
    """
    handle = os.open(version_dir, os.O_RDONLY)
    try:
        lock(handle, shared=True)
        if not os.path.samestat(os.fstat(handle), os.stat(version_dir)):
            raise FileNotFoundError(f"{version_dir} was replaced")
    except OSError as error:
        os.close(handle)
        raise FileNotFoundError(f"{version_dir} is being removed") from error
    return handle


def remove(model_dir: Path, version: int) -> bool:
    """Removes a version unless a server holds it. Call it inside `locked`.

    It is renamed first, so that a crash on the way leaves nothing that looks like a version.

    Returns:
        Whether it was removed.
    """
    folder = model_dir / str(version)
    handle = os.open(folder, os.O_RDONLY)
    try:
        lock(handle)
        aside = folder.rename(model_dir / f"{_REMOVED}{version}")
    except BlockingIOError:
        return False
    finally:
        os.close(handle)
    sync_path(os.fspath(model_dir))
    shutil.rmtree(aside)
    return True


def clean(model_dir: Path) -> None:
    """Removes what dead processes left on their way. Call it inside `locked`."""
    for prefix in (PUSHED, _REMOVED):
        for stale in model_dir.glob(f"{prefix}*"):
            shutil.rmtree(stale)


def _number(value: object) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= MAX_VERSION:
        raise ValueError(f"{value!r} is no version")
    return value
