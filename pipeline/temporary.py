"""Temporary files of a run lie in its root, so that what a killed one leaves goes with the next."""

import multiprocessing
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from multiprocessing.util import get_temp_dir
from pathlib import Path

_FOLDER = ".tmp"  # below the root
_TRIES = 100  # to make a folder
_SOCKETS = "sockets"  # a file in it: a process, and multiprocessing's own folder of that process


@contextmanager
def temporary_files_in(root: Path, name: str = "") -> Iterator[None]:
    """This process and those that it starts keep their temporary files below `root`.

    Sockets, which neither long paths nor every file system take, stay in the system's folder.
    Yields with the folder empty, and removes it after, but for what can't be removed.

    Args:
        root: absolute; of the run.
        name: of a folder of one's own, where others keep theirs there at the same time; without
            one nobody else may.
    """
    folder = root / _FOLDER / name
    for noted in (*folder.glob(_SOCKETS), *folder.glob(f"*/{_SOCKETS}")):
        if noted.is_file():
            _remove_sockets(noted.read_text(encoding="utf-8"))
    shutil.rmtree(folder, ignore_errors=True)
    _make(folder)
    if multiprocessing.parent_process() is None:  # else the folder is the parent's
        sockets = folder / _SOCKETS
        sockets.write_text(f"{os.getpid()} {get_temp_dir()}", encoding="utf-8")
    before, variable = tempfile.tempdir, os.environ.get("TMPDIR")
    tempfile.tempdir = os.environ["TMPDIR"] = str(folder)
    try:
        yield
    finally:
        tempfile.tempdir = before
        if variable is None:
            del os.environ["TMPDIR"]
        else:
            os.environ["TMPDIR"] = variable
        shutil.rmtree(folder, ignore_errors=True)
        with suppress(OSError):  # others may have theirs in it
            (root / _FOLDER).rmdir()


def _make(folder: Path) -> None:
    """Makes a folder, though others that end remove the one around it at the same moment."""
    for _ in range(_TRIES):
        with suppress(FileNotFoundError):
            folder.mkdir(parents=True, exist_ok=True)
            return
    folder.mkdir(parents=True, exist_ok=True)


def _remove_sockets(noted: str) -> None:
    """Removes the folder of a process that was killed: who holds the root now knows that it was."""
    process, _, folder = noted.partition(" ")
    if process != str(os.getpid()) and Path(folder).name.startswith("pymp-"):
        shutil.rmtree(folder, ignore_errors=True)
