"""Looks at what a process brings to the disk for sure."""

import os
from pathlib import Path

import pytest


def synced_paths(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """The files and folders that are synced from now on, in order; a growing list."""
    found: list[Path] = []
    fsync = os.fsync

    def noting(handle: int) -> None:
        found.append(Path(os.readlink(f"/proc/self/fd/{handle}")))
        fsync(handle)

    monkeypatch.setattr(os, "fsync", noting)
    return found
