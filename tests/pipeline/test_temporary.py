"""Temporary files of a run: where they lie, and what becomes of a killed run's."""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from cxrflow.pipeline.temporary import temporary_files_in


def test_they_lie_in_the_root_and_go_with_the_run(tmp_path: Path) -> None:
    before, variable = tempfile.gettempdir(), os.environ.get("TMPDIR")
    with temporary_files_in(tmp_path), tempfile.NamedTemporaryFile() as file:
        assert Path(file.name).parent == tmp_path / ".tmp" == Path(os.environ["TMPDIR"])
        kept = Path(tempfile.mkdtemp(), "file")
        kept.touch()
        child = "import tempfile; print(tempfile.gettempdir())"
        said = subprocess.run([sys.executable, "-c", child], capture_output=True, text=True).stdout
        assert said.strip() == str(tmp_path / ".tmp")
    assert (tempfile.gettempdir(), os.environ.get("TMPDIR")) == (before, variable)
    assert [*tmp_path.iterdir()] == []


def test_nodes_beside_each_other_leave_theirs_alone(tmp_path: Path) -> None:
    with temporary_files_in(tmp_path, "a"):
        mine = Path(tempfile.mkdtemp())
        with temporary_files_in(tmp_path, "b"):
            assert Path(tempfile.mkdtemp()).parent == tmp_path / ".tmp" / "b"
        assert mine.is_dir()
    assert [*tmp_path.iterdir()] == []


def test_nodes_that_begin_and_end_at_once_do_not_break_each_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One ends when the other has made the folder around its own, but not that one yet."""
    made, ended = Path.mkdir, []

    def mkdir(path: Path, *args: object, **how: object) -> None:
        made(path, *args, **how)
        if path.name == ".tmp" and not ended:
            ended.append(path)
            path.rmdir()

    monkeypatch.setattr(Path, "mkdir", mkdir)
    with temporary_files_in(tmp_path, "a"):
        assert ended and Path(tempfile.mkdtemp()).parent == tmp_path / ".tmp" / "a"
    assert [*tmp_path.iterdir()] == []


def test_what_cannot_be_removed_is_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """NFS keeps a file that is still open under another name."""
    left = tmp_path / ".tmp" / "a" / ".nfs0001"
    left.parent.mkdir(parents=True)
    left.touch()
    monkeypatch.setattr("shutil.rmtree", lambda *_, **__: None)
    with temporary_files_in(tmp_path, "a"):
        assert left.exists()


KILLED = """
import os, signal, sys, tempfile
from multiprocessing.util import get_temp_dir
from pathlib import Path
from cxrflow.pipeline.temporary import temporary_files_in
with temporary_files_in(Path(sys.argv[1]), sys.argv[2]):
    print(get_temp_dir(), flush=True)
    Path(tempfile.mkdtemp(), "file").touch()
    os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.parametrize("name", ["", "a"])
def test_what_a_killed_run_or_node_left_goes_with_the_next_run(tmp_path: Path, name: str) -> None:
    killed = subprocess.run(
        [sys.executable, "-c", KILLED, str(tmp_path), name], capture_output=True, text=True
    )
    sockets = Path(killed.stdout.strip())
    assert killed.returncode == -9 and sockets.is_dir()
    assert [*tmp_path.rglob("file")]
    with temporary_files_in(tmp_path):
        assert not sockets.exists() and not [*tmp_path.rglob("file")]


@pytest.mark.parametrize("noted", ["", "12", "12 /etc/passwd", "x y z"])
def test_a_note_that_is_none_removes_nothing(tmp_path: Path, noted: str) -> None:
    (tmp_path / ".tmp").mkdir()
    (tmp_path / ".tmp" / "sockets").write_text(noted)
    with temporary_files_in(tmp_path):
        assert Path("/etc/passwd").exists()
