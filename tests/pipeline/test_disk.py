"""Folders that take no files, and disks that are full."""

import errno
import os
import resource
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from cxrflow.pipeline.disk import is_full, require_writable, says_full
from cxrflow.pipeline.one_line import as_one_line
from cxrflow.schema.errors import CxrflowError

FULL = OSError(errno.ENOSPC, "No space left on device")
FAKE = str(Path(__file__).parent / "fake_tfx.py")
MB = 1024 * 1024


def raised_from(cause: BaseException) -> RuntimeError:
    error = RuntimeError("a step broke")
    error.__cause__ = cause
    return error


@pytest.mark.parametrize(
    "error",
    [
        FULL,
        raised_from(FULL),
        raised_from(raised_from(OSError(errno.EDQUOT, ""))),
        RuntimeError("Error when executing query: database or disk is full query: UPDATE"),
        OSError("Can't write data (errno = 28, error message = 'No space left on device')"),
    ],
    ids=str,
)
def test_a_full_disk_is_known_by_any_name(error: BaseException) -> None:
    assert is_full(error)


@pytest.mark.parametrize("error", [None, ValueError("full of errors"), OSError(errno.EACCES, "")])
def test_other_trouble_is_none(error: BaseException | None) -> None:
    assert not is_full(error)


def test_the_log_tells_too(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_text("noise\n")
    assert not says_full(log)
    log.write_text("E tensorflow/... ; No space left on device\nmore noise\n")
    assert says_full(log)
    assert not says_full(log, since=log.stat().st_size)  # it was said of an earlier attempt


def test_a_full_disk_in_the_log_is_told_of_foreign_errors_of_this_attempt(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_text("E tensorflow/... ; No space left on device\n")
    ours, foreign, now = CxrflowError("too few images"), KeyError("weights"), log.stat().st_size
    assert str(as_one_line(foreign, tmp_path, log)).startswith(f"no space left in {tmp_path}")
    assert str(as_one_line(foreign, tmp_path, log, since=now)).startswith("a step broke: KeyError")
    assert str(as_one_line(ours, tmp_path, log)) == "too few images"


def test_a_loop_of_causes_ends() -> None:
    first = ValueError()
    first.__cause__ = raised_from(first)
    assert not is_full(first)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """An empty file system of 20 MB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=20m", "tmpfs", str(folder)]
    if os.geteuid() != 0 or subprocess.run(mount, capture_output=True).returncode != 0:
        pytest.skip("mounting a file system needs root")
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


def test_a_probe_leaves_nothing(small_disk: Path) -> None:
    require_writable(small_disk / "new" / "root")
    assert [path.name for path in small_disk.rglob("*")] == ["new", "root"]


def test_too_little_space_is_told_before_the_work(small_disk: Path) -> None:
    (small_disk / "big").write_bytes(bytes(10 * MB))
    with pytest.raises(CxrflowError, match=rf"no space left in {small_disk} \(10 MB are free\)"):
        require_writable(small_disk)


@pytest.mark.parametrize("folder", ["/proc/nowhere", "/sys/kernel", f"{__file__}/root"])
def test_folders_that_take_nothing(folder: str) -> None:
    with pytest.raises(CxrflowError, match="can't be written to"):
        require_writable(Path(folder))


def limited_to(size: int) -> None:
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))


@pytest.mark.parametrize("command", ["run", "study"])
def test_a_run_on_a_disk_without_room_is_one_line(command: str, small_disk: Path) -> None:
    (small_disk / "big").write_bytes(bytes(19 * MB))
    result = subprocess.run(
        [sys.executable, FAKE, command, "--root", str(small_disk / "root")],
        capture_output=True,
        text=True,
    )
    assert result.returncode == 2 and result.stdout == ""
    assert result.stderr.startswith(f"cxrflow: no space left in {small_disk}/root (1 MB are free)")
    assert result.stderr.count("\n") == 1


def test_a_limit_on_files_is_one_line(tmp_path: Path) -> None:
    result = subprocess.run(
        [sys.executable, FAKE, "run", "--root", str(tmp_path / "root")],
        capture_output=True,
        text=True,
        preexec_fn=lambda: limited_to(MB),
    )
    assert result.returncode == 2
    assert "can't be written to (File too large)" in result.stderr
    assert result.stderr.count("\n") == 1


def test_a_disk_that_fills_up_is_one_line(small_disk: Path, tmp_path: Path) -> None:
    """The log's own disk is full, too: Python's buffers can't be flushed."""
    program = f"""
import os, sys
from pathlib import Path
from importlib import import_module
from cxrflow.pipeline.terminal import redirected_to
command = import_module("cxrflow.pipeline.cli.main")

def app(**_):
    with redirected_to(Path({str(small_disk)!r}) / "logs" / "a.log"):
        print("in the log")
        with open({str(small_disk / "big")!r}, "wb", 0) as file:
            try:
                while True:
                    file.write(bytes({MB}))
            except OSError:
                pass
            print("noise" * 100_000)
            file.write(bytes({MB}))

class CrashesAsLibrariesDo:
    def __del__(self):
        os.abort()

keep = CrashesAsLibrariesDo()
command.app = app
command.main()
"""
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert (result.returncode, result.stdout) == (2, ""), result.stderr
    assert "No space left on device" in result.stderr and result.stderr.count("\n") == 1
    assert "noise" not in result.stderr
