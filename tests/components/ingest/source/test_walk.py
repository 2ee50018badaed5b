"""Links in a data folder: followed once, wherever they lead."""

import os

import pytest

from cxrflow.components.ingest.source.dicoms import find_dicoms
from cxrflow.components.ingest.source.places import image_files
from cxrflow.components.ingest.source.read import read_source
from cxrflow.components.ingest.source.version import fingerprint_source
from cxrflow.components.ingest.source.walk import files_below
from cxrflow.schema.errors import CxrflowError


@pytest.fixture
def folder(tmp_path):
    """A data folder beside an archive."""
    for path in ("data/here/a.png", "archive/b.png", "archive/deep/c.png", "data/.git/x.png"):
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_bytes(b"x")
    return tmp_path / "data"


def test_folders_and_files_behind_links_are_there(folder):
    (folder / "linked").symlink_to(folder.parent / "archive")
    (folder / "file.png").symlink_to(folder.parent / "archive" / "b.png")
    assert sorted(files_below(folder)) == [
        *("file.png", "here/a.png", "linked/b.png", "linked/deep/c.png"),
    ]
    assert sorted(image_files(folder)) == sorted(files_below(folder))


def test_loops_end_and_no_folder_is_there_twice(folder):
    (folder / "again").symlink_to("here")
    (folder / "here" / "up").symlink_to("..")
    (folder / "itself").symlink_to("itself")
    (folder / "x").symlink_to(folder.parent / "archive")
    (folder / "y").symlink_to(folder.parent / "archive" / "deep")
    (folder.parent / "archive" / "deep" / "back").symlink_to(folder)
    found = sorted(files_below(folder))
    assert found == ["here/a.png", "itself", "x/b.png", "x/deep/c.png"]


def test_the_folder_may_be_a_link_itself(folder):
    link = folder.parent / "link"
    link.symlink_to(folder)
    assert list(files_below(link)) == ["here/a.png"]


def test_a_folder_that_cannot_be_read_is_one_line(folder, monkeypatch):
    scandir = os.scandir

    def refused(path):
        if os.fspath(path).endswith("here"):
            raise PermissionError(13, "Permission denied", path)
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refused)
    with pytest.raises(CxrflowError, match="here can't be read: Permission denied"):
        list(files_below(folder))


def test_dicoms_behind_links_are_read_and_dead_links_are_told(table, dicoms, describe_as, tmp_path):
    dicoms("data/1", SOPInstanceUID="1.1", PatientID="A")
    dicoms("archive/2/IM", SOPInstanceUID="1.2", PatientID="B")
    dicoms("archive/3", SOPInstanceUID="1.3", PatientID="C")
    data = tmp_path / "data"
    (data / "2").symlink_to(tmp_path / "archive" / "2")
    (data / "3").symlink_to("../archive/3")
    (data / "4").symlink_to("../archive/nothing")
    table("data/t.csv", [{"i": f"1.{n}", "Water": n % 2} for n in (1, 2, 3)])
    (data / "key").write_text("0123456789abcdef")
    described = describe_as(
        tables=[{"file": "t.csv"}],
        columns={"image": "i"},
        images={"format": "dicom"},
        labels={"classes": {"Water": "Water"}},
        pseudonym_key="key",
    )
    found = read_source(data, described)
    assert [os.path.relpath(path, data) for path in found.rows["path"]] == ["1", "2/IM", "3"]
    assert [(p.reason, p.detail) for p in found.problems] == [
        ("unreadable", "a link that leads to no file")
    ]
    assert [one.path for one in find_dicoms(data)] == ["1", "2/IM", "3", "4"]
    before = fingerprint_source(data, described)
    dicoms("archive/2/IM", SOPInstanceUID="1.2", PatientID="D", PatientName="changed")
    assert fingerprint_source(data, described) != before
