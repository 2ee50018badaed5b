"""Adds to the audit log, so that each decision stands there once, whole, and for good."""

import contextlib
import json
import os
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import BinaryIO

from cxrflow.schema.errors import CxrflowError
from cxrflow.schema.portable.writing import sync_path

_TAIL = 2**22  # bytes in which a killed process's last lines are


class AuditLog:
    """The file, opened for each addition: whoever rotates logs may move it away."""

    def __init__(self, path: Path):
        self._path = path
        self._lock = threading.Lock()

    def require(self) -> None:
        """Raises CxrflowError if it can't be written."""
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            with self._path.open("ab"):
                pass
            sync_path(os.fspath(self._path.parent))
        except OSError as error:
            raise CxrflowError(
                f"gateway: audit: {self._path} can't be written: {error.strerror}"
            ) from None

    def add(self, lines: Sequence[str], again: bool = False) -> None:
        """Adds decisions' lines; they are on the disk when this returns.

        Args:
            lines: without their ends.
            again: whether they may stand there already, as a process was killed.
        """
        with self._lock, self._path.open("a+b") as file:
            _cut_torn(file)
            if again:
                there = _ids(_tail(file))
                lines = [line for line in lines if json.loads(line)["id"] not in there]
            file.write("".join(f"{line}\n" for line in lines).encode())
            file.flush()
            os.fsync(file.fileno())


def _cut_torn(file: BinaryIO) -> None:
    """Takes away the piece of a line that a power cut left: its decision is added again."""
    if not file.seek(0, os.SEEK_END):
        return
    file.seek(-1, os.SEEK_END)
    if file.read(1) != b"\n":
        tail = _tail(file)
        file.truncate(file.seek(0, os.SEEK_END) - len(tail) + tail.rfind(b"\n") + 1)


def _tail(file: BinaryIO) -> bytes:
    file.seek(max(0, file.seek(0, os.SEEK_END) - _TAIL))
    return file.read()


def _ids(tail: bytes) -> set[str]:
    found = set()
    for line in tail.splitlines():
        with contextlib.suppress(ValueError, KeyError, TypeError):  # the first may be a piece
            found.add(json.loads(line)["id"])
    return found
