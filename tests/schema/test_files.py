"""Files and folders that are whole or not there at all, and locks."""

import fcntl
import multiprocessing
import os
from pathlib import Path

import pytest

from cxrflow.schema.files import locked, whole_file, whole_folder, write_whole
from cxrflow.schema.portable.writing import lock, written_aside


@pytest.mark.parametrize("sync", [False, True])
def test_a_file_is_replaced_whole_and_at_the_end(tmp_path: Path, sync: bool) -> None:
    path = tmp_path / "labels.json"
    path.write_text("before")
    with whole_file(path, sync=sync) as aside:
        aside.write_text("after")
        assert path.read_text() == "before"
    assert path.read_text() == "after"
    write_whole(path, "é", sync=sync)
    assert path.read_bytes() == b"\xc3\xa9"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("error", [OSError("the disk is full"), KeyboardInterrupt()])
def test_a_file_stays_as_it_was_where_writing_fails(tmp_path: Path, error: BaseException) -> None:
    path = tmp_path / "labels.json"
    path.write_text("before")
    with pytest.raises(type(error)), whole_file(path, ending=".17") as aside:
        assert aside == tmp_path / "labels.json.17"
        aside.write_text("aft")
        raise error
    assert path.read_text() == "before"
    assert list(tmp_path.iterdir()) == [path]


def test_what_cannot_be_put_in_place_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "taken").mkdir()
    with pytest.raises(OSError), written_aside(str(tmp_path / "taken")) as aside:
        Path(aside).write_text("x")
    assert [path.name for path in tmp_path.iterdir()] == ["taken"]


@pytest.mark.parametrize("alone", [False, True])
def test_a_folder_appears_whole(tmp_path: Path, alone: bool) -> None:
    path, aside = tmp_path / "3", tmp_path / ".push-3"
    (aside / "left" / "by a killed process").mkdir(parents=True)
    (aside / "link").symlink_to(tmp_path)
    path.mkdir()  # an empty one may be there
    with whole_folder(path, aside, alone=alone) as folder:
        assert folder == aside and not list(folder.iterdir())
        (folder / "model").write_text("x")
        assert not list(path.iterdir())
    assert [(p.name, p.read_text()) for p in path.iterdir()] == [("model", "x")]
    assert list(tmp_path.iterdir()) == [path]


def test_a_folder_that_fails_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(ValueError), whole_folder(tmp_path / "3", tmp_path / "aside") as folder:
        (folder / "model").write_text("x")
        raise ValueError
    assert not list(tmp_path.iterdir())
    (tmp_path / "3").mkdir()
    (tmp_path / "3" / "other").write_text("y")
    with pytest.raises(OSError), whole_folder(tmp_path / "3", tmp_path / "aside"):
        pass
    assert [p.name for p in tmp_path.iterdir()] == ["3"] and (tmp_path / "3" / "other").exists()


def test_one_writer_of_a_folder_at_a_time(tmp_path: Path) -> None:
    aside = tmp_path / "aside"
    with whole_folder(tmp_path / "3", aside, alone=True) as folder:
        (folder / "mine").write_text("x")
        with pytest.raises(BlockingIOError), whole_folder(tmp_path / "3", aside, alone=True):
            pass
        assert (folder / "mine").exists()
    assert (tmp_path / "3" / "mine").exists()


def test_a_lock_is_held_by_one_and_shared_ones_by_many(tmp_path: Path) -> None:
    path = tmp_path / ".lock"
    with locked(path, wait=False):
        with pytest.raises(BlockingIOError), locked(path, wait=False):
            pass
        with open(path) as file, pytest.raises(BlockingIOError):
            lock(file.fileno(), shared=True)
    with open(path) as first, open(path) as second:
        lock(first.fileno(), shared=True)
        lock(second.fileno(), shared=True)
        with pytest.raises(BlockingIOError), locked(path, wait=False):
            pass


@pytest.mark.parametrize("shared", [False, True])
def test_a_lock_can_be_had_where_files_are_locked_by_byte_ranges(
    tmp_path: Path, shared: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As NFS does it, which refuses a lock that the file isn't open for (EBADF)."""
    monkeypatch.setattr(fcntl, "flock", fcntl.lockf)
    with locked(tmp_path / ".lock", wait=False, shared=shared, holder="me"):
        assert (tmp_path / ".lock").read_text() == "me"


def test_a_lock_goes_with_its_process_and_is_waited_for(tmp_path: Path) -> None:
    path = tmp_path / ".lock"
    context = multiprocessing.get_context("fork")
    ready, told = context.Pipe()

    def hold() -> None:
        with locked(path, wait=True):
            told.send("mine")
            told.poll(60)  # nothing comes: it is killed
            os._exit(1)

    holder = context.Process(target=hold)
    holder.start()
    assert ready.recv() == "mine"
    with pytest.raises(BlockingIOError), locked(path, wait=False):
        pass
    holder.kill()
    with locked(path, wait=True):
        pass
    holder.join()
