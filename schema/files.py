"""Files and folders that are whole or not there at all, and locks, for the host's paths."""

import os
import shutil
import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from datetime import datetime
from pathlib import Path

from cxrflow.schema.errors import CxrflowError
from cxrflow.schema.portable.writing import lock, sync_path, written_aside


@contextmanager
def whole_file(path: Path, *, ending: str = ".part", sync: bool = False) -> Iterator[Path]:
    """Another path to write to, which takes this one's place at the end, or goes if that fails.

    Args:
        path: of the file.
        ending: added to its name for as long as it is written; of one's own where several
            processes may write the file at the same time.
        sync: whether a power cut, too, leaves the old file or the new one, whole.
    """
    with written_aside(os.fspath(path), ending, sync) as aside:
        yield Path(aside)


def write_whole(path: Path, text: str, *, ending: str = ".part", sync: bool = False) -> None:
    """Writes a file in UTF-8, whole or not at all; see `whole_file`."""
    with whole_file(path, ending=ending, sync=sync) as aside:
        aside.write_text(text, encoding="utf-8")


@contextmanager
def whole_folder(path: Path, aside: Path, *, alone: bool = False) -> Iterator[Path]:
    """The empty folder `aside`, which becomes `path` at the end, or goes if that fails.

    Its entries are for the caller to sync. What a killed process left in `aside` is removed first.

    Args:
        path: where there is nothing, or an empty folder.
        aside: in the same file system.
        alone: locks `aside` until it has its place. For folders that nobody locks for reading.

    Raises:
        BlockingIOError: another process that is to be alone writes to `aside`.
    """
    aside.mkdir(parents=True, exist_ok=True)
    handle = os.open(aside, os.O_RDONLY)
    try:
        if alone:
            lock(handle)
        for entry in aside.iterdir():
            shutil.rmtree(entry) if entry.is_dir() and not entry.is_symlink() else entry.unlink()
        try:
            yield aside
            aside.rename(path)
        except BaseException:
            shutil.rmtree(aside, ignore_errors=True)
            raise
    finally:
        os.close(handle)
    sync_path(os.fspath(path.parent))


def sync_folder(folder: Path) -> None:
    """Makes sure that a folder and all files below it are on the disk."""
    folders = [os.fspath(folder.parent)]
    for at, _, names in os.walk(folder):
        folders.append(at)
        for path in (os.path.join(at, name) for name in names):
            if not os.path.islink(path):
                sync_path(path)
    for at in reversed(folders):
        with suppress(OSError):  # some file systems can't
            sync_path(at)


@contextmanager
def locked(path: Path, *, wait: bool, shared: bool = False, holder: str = "") -> Iterator[None]:
    """Holds the lock of a file, made if it is missing, which goes with its process.

    Args:
        path: of the file.
        wait: whether to wait for another process that holds it.
        shared: beside others that want no more than that.
        holder: put into the file, for those who find it locked.

    Raises:
        BlockingIOError: another process holds it, and it isn't waited for.
    """
    # Readable, too: NFS makes byte-range locks of these, and a shared one asks for that.
    with open(path, "a+", encoding="utf-8") as file:
        lock(file.fileno(), shared=shared, wait=wait)
        file.truncate(0)
        file.write(holder)
        file.flush()
        yield


@contextmanager
def held(
    path: Path,
    refusal: str,
    advice: str,
    *,
    shared: bool = False,
    me: str = "",
    others: Callable[[], str] = lambda: "",
) -> Iterator[None]:
    """Holds the lock of a file that says who does, and since when.

    Args:
        path: of the file.
        refusal: what to say where another process holds it; who that is follows.
        advice: what to do then.
        shared: beside others that want no more than that; the file doesn't say who they are.
        me: what else the file says of this process.
        others: says who shares the lock.

    Raises:
        CxrflowError: another process holds it.
    """
    me += f"process {os.getpid()} on {socket.gethostname()} since {datetime.now():%Y-%m-%d %H:%M}"
    with ExitStack() as stack:
        try:
            holder = "" if shared else me
            stack.enter_context(locked(path, wait=False, shared=shared, holder=holder))
        except BlockingIOError:
            who = _said(path) or others()
            raise CxrflowError(f"{refusal}{who and f' ({who})'}: {advice}") from None
        yield


def holder_of(path: Path) -> str | None:
    """Who holds a lock alone, as its file says; None where nobody does. It is tried for that."""
    with open(path, "a+", encoding="utf-8") as file:
        try:
            lock(file.fileno(), shared=True)
        except BlockingIOError:
            return _said(path)
    return None


def _said(path: Path) -> str:
    try:
        return " ".join(path.read_text(encoding="utf-8", errors="replace").split())
    except OSError:
        return ""
