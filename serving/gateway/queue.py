"""The queue on disk: a folder for each state, in it one for each study, in it its batches.

    incoming/STUDY/1/SOP.dcm         more of the study may come
    waiting/STUDY/1/                 complete: the model is to be asked
    asked/STUDY/1/results/*.dcm      results are there, to be sent; sent/DESTINATION/ says which are
    answered/STUDY/1/                everything is sent
    failed/STUDY/1/reason.json       it can't be answered, or not be sent

STUDY and SOP are the DICOM UIDs. A batch goes from state to state by a rename, so that it always is
in one of them, whatever happens to the process. Images that come after their study was complete are
another batch. Nothing but these folders remembers anything.
"""

import contextlib
import json
import os
import re
import shutil
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from cxrflow.schema.errors import CxrflowError
from cxrflow.schema.files import locked, write_whole
from cxrflow.schema.portable.writing import sync_path

State = Literal["incoming", "waiting", "asked", "answered", "failed"]
STATES: tuple[State, ...] = ("incoming", "waiting", "asked", "answered", "failed")
RESULTS = "results"
REASON = "reason.json"
_SENT = "sent"
_RECEIVING = ".receiving"  # files that aren't whole yet
_UID, _UID_LENGTH = re.compile(r"[0-9]+(\.[0-9]+)*"), 64
_SUFFIX = ".dcm"


class BadUid(ValueError):
    """A UID that is none, and can't name a folder."""


@dataclass(frozen=True)
class Batch:
    """Images of one study that are answered together."""

    root: Path
    state: State
    study: str  # Study Instance UID
    number: int

    @property
    def path(self) -> Path:
        """Its folder."""
        return self.root / self.state / self.study / str(self.number)

    def __str__(self) -> str:
        return f"{self.state}/{self.study}/{self.number}"

    def images(self) -> list[Path]:
        """Its files as they came, in the order of their names."""
        return sorted(self.path.glob(f"*{_SUFFIX}"))

    def results(self) -> list[Path]:
        """What was made of it, in the order of names."""
        return sorted((self.path / RESULTS).glob(f"*{_SUFFIX}"))

    def sent(self, destination: str) -> set[str]:
        """Names of the results that a destination has."""
        with contextlib.suppress(FileNotFoundError):
            return {path.stem for path in (self.path / _SENT / destination).glob("*.json")}
        return set()

    def mark_sent(self, destination: str, result: Path, status: str) -> None:
        """Remembers for good that a destination has a result."""
        folder = self.path / _SENT / destination
        _make_folder(folder, self.path)
        fields = {"time": _now(), "status": status}
        write_whole(folder / f"{result.name}.json", json.dumps(fields) + "\n", sync=True)

    def note(self, fields: dict[str, Any]) -> None:
        """Leaves a word for operators why it is still here."""
        with contextlib.suppress(OSError):
            write_whole(self.path / "trying.json", json.dumps({"time": _now(), **fields}) + "\n")


class Queue:
    """The folders; its methods may be called by several threads at once."""

    def __init__(self, root: Path):
        self.root = root
        self._lock = threading.Lock()
        self._last: dict[str, float] = {}  # study -> when its last image came, time.monotonic
        self._first: dict[str, float] = {}

    @contextlib.contextmanager
    def opened(self) -> Iterator["Queue"]:
        """Makes the folders, takes the queue for this process, and clears away what isn't whole.

        Raises:
            CxrflowError: another process has it.
        """
        for name in (*STATES, _RECEIVING):
            (self.root / name).mkdir(parents=True, exist_ok=True)
        try:
            with locked(self.root / ".lock", wait=False, holder=f"{os.getpid()}\n"):
                for left in (self.root / _RECEIVING).iterdir():
                    left.unlink()
                self._settle()
                yield self
        except BlockingIOError:
            raise CxrflowError(f"another gateway works on the queue {self.root}") from None

    def store(self, study: str, sop: str, data: bytes) -> bool:
        """Puts a file into its study's batch; it is on the disk when this returns.

        Returns:
            Whether it is new: an image that is being answered, or was, isn't taken again.

        Raises:
            BadUid: one of the UIDs is none.
            OSError: it can't be written.
        """
        for uid in (study, sop):
            require_uid(uid)
        if self.knows(study, sop):
            return False
        aside = self.root / _RECEIVING / f"{sop}.{threading.get_ident()}"
        try:
            with aside.open("wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            with self._lock:
                if self.knows(study, sop):  # sent twice at the same time
                    return False
                folder = self._incoming(study).path
                os.replace(aside, folder / f"{sop}{_SUFFIX}")
                sync_path(os.fspath(folder))
                self._last[study] = time.monotonic()
                self._first.setdefault(study, self._last[study])
        finally:
            aside.unlink(missing_ok=True)
        return True

    def knows(self, study: str, sop: str) -> bool:
        """Whether an image is there, in whatever state."""
        return any(
            (batch.path / f"{sop}{_SUFFIX}").exists()
            for state in STATES
            for batch in self._of_study(state, study)
        )

    def complete(self, quiet: float, most: float) -> list[Batch]:
        """Moves studies that had no image for `quiet` seconds, or that began before `most`, on."""
        done = []
        for batch in self.batches("incoming"):
            now = time.monotonic()
            with self._lock:  # after a restart, the time counts from now
                last = self._last.setdefault(batch.study, now)
                first = self._first.setdefault(batch.study, last)
            if now - last >= quiet or now - first >= most:
                done.append(self.move(batch, "waiting"))
        return done

    def move(self, batch: Batch, state: State) -> Batch:
        """Puts a batch into another state."""
        moved = Batch(self.root, state, batch.study, batch.number)
        with self._lock:
            if batch.state == "incoming":
                self._last.pop(batch.study, None)
                self._first.pop(batch.study, None)
            _make_folder(moved.path.parent, self.root)
            os.rename(batch.path, moved.path)
            sync_path(os.fspath(moved.path.parent))
            sync_path(os.fspath(batch.path.parent))
            with contextlib.suppress(OSError):  # it has other batches
                batch.path.parent.rmdir()
        return moved

    def fail(self, batch: Batch, reason: str) -> Batch:
        """Puts a batch aside with the reason."""
        fields = {"time": _now(), "was": batch.state, "reason": reason}
        write_whole(batch.path / REASON, json.dumps(fields) + "\n", sync=True)
        return self.move(batch, "failed")

    def batches(self, state: State) -> list[Batch]:
        """Those in a state."""
        with contextlib.suppress(FileNotFoundError):
            return [
                batch
                for study in sorted(os.listdir(self.root / state))
                for batch in self._of_study(state, study)
            ]
        return []

    def came(self, state: State) -> list[float]:
        """When the first image of each batch in a state came, Unix time."""
        found = []
        for batch in self.batches(state):
            with contextlib.suppress(OSError, ValueError):  # it goes on meanwhile
                found.append(min(path.stat().st_mtime for path in batch.images()))
        return found

    def forget(self, days: float) -> int:
        """Removes batches that were answered so many days ago; says how many."""
        count, before = 0, time.time() - days * 86400
        for batch in self.batches("answered"):
            with contextlib.suppress(FileNotFoundError):
                if batch.path.stat().st_ctime < before:  # its rename was the last change
                    shutil.rmtree(batch.path)
                    count += 1
                    batch.path.parent.rmdir()
        return count

    def _of_study(self, state: State, study: str) -> list[Batch]:
        try:
            names = os.listdir(self.root / state / study)
        except (FileNotFoundError, NotADirectoryError):
            return []
        return [
            Batch(self.root, state, study, int(name)) for name in sorted(names) if name.isdecimal()
        ]

    def _incoming(self, study: str) -> Batch:
        """The batch that an image goes to."""
        for batch in self._of_study("incoming", study):
            return batch
        used = [batch.number for state in STATES for batch in self._of_study(state, study)]
        batch = Batch(self.root, "incoming", study, max(used, default=0) + 1)
        _make_folder(batch.path, self.root)
        return batch

    def _settle(self) -> None:
        """Removes empty folders that a killed process left."""
        for batch in self.batches("incoming"):
            with contextlib.suppress(OSError):
                batch.path.rmdir()
        for state in STATES:
            for study in (self.root / state).iterdir():
                with contextlib.suppress(OSError):
                    study.rmdir()


def require_uid(text: str) -> None:
    """Raises BadUid for what is no UID, PS3.5 section 9.1; leading zeros, as many write, pass."""
    if len(text) > _UID_LENGTH or not _UID.fullmatch(text):
        raise BadUid(text)


def _make_folder(folder: Path, root: Path) -> None:
    """Makes a folder below another, for good."""
    missing = []
    while folder != root and not folder.is_dir():
        missing.append(folder)
        folder = folder.parent
    for one in reversed(missing):
        one.mkdir(exist_ok=True)
        sync_path(os.fspath(one.parent))


def _now() -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
