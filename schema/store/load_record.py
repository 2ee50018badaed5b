"""What a server made of a model's versions, written beside them for `cxrflow models`.

<serving root>/<model name>/.served.json

    {"pid": 17, "host": "a", "started": 4711, "labels": {"stable": 5},
     "rejected": {"7": {"reason": "saved_model.pb was changed", "files": "9f2c..."}}}
"""

import contextlib
import hashlib
import json
import os
import socket
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path

from cxrflow.schema.files import write_whole

RECORD = ".served.json"
_LOOK_SECONDS = 0.2  # between two looks at the record


@dataclass(frozen=True)
class Rejected:
    """Why a version isn't served."""

    reason: str
    files: str  # `fingerprint` of those that were rejected


@dataclass(frozen=True)
class LoadRecord:
    """Which versions a server serves, and which it rejected and why."""

    labels: dict[str, int]  # that it serves; `stable` also answers requests which name none
    rejected: dict[int, Rejected] = field(default_factory=dict)
    pid: int = field(default_factory=os.getpid)  # of the server
    host: str = field(default_factory=socket.gethostname)  # where it runs
    started: int = field(default_factory=lambda: _started(os.getpid()))  # clock ticks since boot

    @property
    def is_alive(self) -> bool:
        """Whether the server still runs, as far as this machine can tell."""
        return self.host == socket.gethostname() and self.started == _started(self.pid) != -1

    def rejection(self, version_dir: Path) -> str:
        """Why the server rejected a version; empty if it didn't, or the files are others now."""
        rejected = self.rejected.get(int(version_dir.name))
        if rejected is None or rejected.files != fingerprint(version_dir):
            return ""
        return rejected.reason


def write_record(model_dir: Path, record: LoadRecord) -> bool:
    """Writes the record, whole or not at all; returns whether the folder takes it."""
    text = json.dumps(asdict(record)) + "\n"
    try:
        write_whole(model_dir / RECORD, text, ending=f".{os.getpid()}")
    except OSError:
        return False
    return True


def remove_record(model_dir: Path) -> None:
    """Removes the record of this process, which serves no more."""
    record = _read(model_dir)
    if record and (record.pid, record.host) == (os.getpid(), socket.gethostname()):
        with contextlib.suppress(OSError):
            (model_dir / RECORD).unlink()


def living_record(model_dir: Path) -> LoadRecord | None:
    """The record of the server that serves this folder on this machine; None without one."""
    record = _read(model_dir)
    return record if record and record.is_alive else None


def await_served(model_dir: Path, label: str, version: int, seconds: float) -> str | None:
    """Waits until the server serves a version under a label.

    Returns:
        None if no server runs on this machine; empty once it does; else why it doesn't.
    """
    deadline = time.monotonic() + seconds
    while record := living_record(model_dir):
        if record.labels.get(label) == version:
            return ""
        if reason := record.rejection(model_dir / str(version)):
            return reason
        if time.monotonic() > deadline:
            return f"not within {seconds:g} s; it may be loading still, `cxrflow models list` tells"
        time.sleep(_LOOK_SECONDS)
    return None


def fingerprint(version_dir: Path) -> str:
    """Changes when a file of a version does: a SHA-256 of names, sizes and times."""
    digest = hashlib.sha256()
    for path in sorted(version_dir.rglob("*")):
        with contextlib.suppress(FileNotFoundError):
            status = path.lstat()
            name = os.fsencode(path.relative_to(version_dir))
            digest.update(b"%b\0%d %d\n" % (name, status.st_size, status.st_mtime_ns))
    return digest.hexdigest()


def _read(model_dir: Path) -> LoadRecord | None:
    """The last server's record; None without one, or where it can't be understood."""
    try:
        fields = json.loads((model_dir / RECORD).read_text(encoding="utf-8"))
        rejected = {int(n): Rejected(**found) for n, found in fields.pop("rejected").items()}
        labels = {str(label): int(n) for label, n in fields.pop("labels").items()}
        return LoadRecord(labels, rejected, **fields)
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return None


def _started(pid: int) -> int:
    """When a process began, in clock ticks since boot, proc(5); -1 if it is gone."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()
        return -1 if fields[0] in "ZX" else int(fields[19])
    except (OSError, ValueError, IndexError):
        return -1
