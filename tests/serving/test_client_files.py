"""Which files of a folder are images, and what is said of the others."""

import os
import socket
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cxrflow.serving.client import files
from cxrflow.serving.client.files import Skipped, find_images
from tests.serving.dicoms import write_dicom

PNG = cv2.imencode(".png", np.zeros((64, 64), np.uint8))[1].tobytes()
JPEG = cv2.imencode(".jpg", np.zeros((64, 64), np.uint8))[1].tobytes()
# Specific Character Set, as a data set without preamble begins: implicit, explicit, big endian.
IMPLICIT = b"\x08\0\x05\0\x0a\0\0\0ISO_IR 100"
EXPLICIT = b"\x08\0\x05\0CS\x0a\0ISO_IR 100"
BIG = b"\0\x08\0\x05CS\0\x0aISO_IR 100"
META = b"\x02\0\0\0UL\x04\0\x90\0\0\0"  # file meta information without preamble


def found(folder: Path) -> tuple[list[str], dict[str, tuple[str, bool]]]:
    result = find_images([folder])
    return (
        [str(path.relative_to(folder)) for path in result.images],
        {str(s.path.relative_to(folder)): (s.reason, s.bad) for s in result.skipped},
    )


def test_the_four_of_the_fault(shared_dir: Path) -> None:
    result = find_images([shared_dir / "faults" / "folder_skips"])
    assert [path.name for path in result.images] == [
        "headless_dicom", "jpeg.jfif", "ok.png", "png_without_suffix",
    ]  # fmt: skip
    assert result.skipped == []


@pytest.mark.parametrize("content", [PNG, JPEG, IMPLICIT, EXPLICIT, BIG, META, PNG[:9]])
@pytest.mark.parametrize("name", ["a", "a.txt", "a.png", "IM 0001", "ä[1].csv", "a\nb"])
def test_contents_decide(tmp_path: Path, content: bytes, name: str) -> None:
    (tmp_path / name).write_bytes(content)
    assert found(tmp_path) == ([name], {})


@pytest.mark.parametrize(
    ("name", "content", "reason", "bad"),
    [
        ("notes.txt", b"PA and lateral", files.NO_IMAGE, False),
        ("answers.csv", b"file,model\n", files.NO_IMAGE, False),
        ("BMI", b"BMI 22,PNG,DICM", files.NO_IMAGE, False),
        ("archive.zip", b"PK\3\4", files.NO_IMAGE, False),
        (".DS_Store", b"\0\0\0\1Bud1", files.HIDDEN, False),
        ("._a.png", b"\0\5\x16\7", files.HIDDEN, False),
        ("empty.txt", b"", "empty", False),
        ("empty.png", b"", "empty", True),
        ("IM0001", b"", "empty", True),
        ("a.png", b"<html>404", files.MISNAMED.format(".png"), True),
        ("A.DCM", bytes(200), files.MISNAMED.format(".dcm"), True),
        ("a", b"II*\0\x08\0\0\0", files.OTHER_FORMAT.format("TIFF"), True),
        ("a", b"BM\x36\0\x03\0\0\0\0\0\x36", files.OTHER_FORMAT.format("BMP"), True),
        ("a", b"RIFF\x24\0\0\0WEBPVP8 ", files.OTHER_FORMAT.format("WebP"), True),
        ("a.gif", b"GIF89a", files.OTHER_FORMAT.format("GIF"), True),
    ],
)
def test_what_is_left_out(
    tmp_path: Path, name: str, content: bytes, reason: str, bad: bool
) -> None:
    (tmp_path / "image").write_bytes(PNG)
    (tmp_path / name).write_bytes(content)
    assert found(tmp_path) == (["image"], {name: (reason, bad)})


def test_a_dicomdir_under_any_name(tmp_path: Path) -> None:
    image = write_dicom(tmp_path / "IM0", np.zeros((64, 64), np.uint16))
    index = image.read_bytes().replace(b"1.2.840.10008.5.1.4.1.1.1.1\0", b"1.2.840.10008.1.3.10")
    (tmp_path / "DICOMDIR").write_bytes(index)
    (tmp_path / "index").write_bytes(index)
    images, skipped = found(tmp_path)
    assert images == ["IM0"]
    assert skipped == dict.fromkeys(["DICOMDIR", "index"], (files.INDEX, False))


def test_what_is_no_file(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(PNG)
    (tmp_path / "gone.png").symlink_to("nowhere")
    (tmp_path / "round.png").symlink_to("round.png")
    os.mkfifo(tmp_path / "pipe.png")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "socket"))
        images, skipped = found(tmp_path)
    assert images == ["a.png"]
    assert skipped == {
        "gone.png": ("can't be read: No such file or directory", True),
        "pipe.png": (files.NO_FILE, False),
        "round.png": ("can't be read: Too many levels of symbolic links", True),
        "socket": (files.NO_FILE, False),
    }


def test_what_may_not_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As root may read everything, the system calls refuse here."""
    for name in ("a.png", "b.png", "closed/c.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(PNG)
    monkeypatch.setattr(os, "listdir", _refusing(os.listdir, tmp_path / "closed"))
    monkeypatch.setattr(files, "open", _refusing(open, tmp_path / "b.png"), raising=False)
    assert found(tmp_path) == (
        ["a.png"],
        {
            "b.png": ("can't be read: Permission denied", True),
            "closed": ("can't be read: Permission denied", True),
        },
    )


def _refusing(call: Callable[..., object], refused: Path) -> Callable[..., object]:
    def either(path: Path, *args: object) -> object:
        if path == refused:
            raise PermissionError(13, "Permission denied")
        return call(path, *args)

    return either


def test_linked_folders_are_followed_once(tmp_path: Path) -> None:
    (tmp_path / "data" / "deep").mkdir(parents=True)
    (tmp_path / "data" / "deep" / "a.png").write_bytes(PNG)
    (tmp_path / "data" / "deep" / "up").symlink_to("../..")
    (tmp_path / "data" / "file.png").symlink_to("deep/a.png")
    (tmp_path / "link").symlink_to("data")
    images, skipped = found(tmp_path)
    assert images == ["data/file.png", "data/deep/a.png"]
    assert skipped == dict.fromkeys(["data/deep/up", "link"], (files.SEEN, False))


def test_files_that_are_named_are_tried_whatever_they_are(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("no image")
    named = [tmp_path / "a.txt", tmp_path / "gone", Path("/dev/null")]
    assert find_images(named).images == named
    assert find_images([tmp_path, named[0]]).images == [named[0]]
    assert find_images([named[0], tmp_path]).images == [named[0]]


def test_each_path_once_in_order(tmp_path: Path) -> None:
    for name in ("b.png", "a.png", "sub/c.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(PNG)
    result = find_images([tmp_path / "b.png", tmp_path, tmp_path / "sub"])
    assert [path.name for path in result.images] == ["b.png", "a.png", "c.png"]
    assert [s.reason for s in result.skipped] == [files.SEEN]


@pytest.mark.parametrize("inside", [(), ("notes.txt",), ("sub/notes.txt", ".hidden")])
def test_a_folder_without_images_is_bad(tmp_path: Path, inside: tuple[str, ...]) -> None:
    for name in inside:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("text")
    result = find_images([tmp_path])
    assert result.images == []
    assert result.skipped[-1] == Skipped(tmp_path, files.NO_IMAGES, bad=True)
    assert len(result.skipped) == 1 + len(inside)


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    st.dictionaries(
        st.binary(min_size=1, max_size=8).filter(
            lambda name: not {b"/", b"\0"} & {bytes([c]) for c in name} and name.strip(b".")
        ),
        st.binary(max_size=20) | st.sampled_from([PNG, JPEG, IMPLICIT]),
        max_size=5,
    )
)
def test_every_file_is_an_image_or_named(
    tmp_path_factory: pytest.TempPathFactory, contents: dict[bytes, bytes]
) -> None:
    folder = tmp_path_factory.mktemp("names")
    for name, content in contents.items():
        (folder / os.fsdecode(name)).write_bytes(content)
    result = find_images([folder])
    seen = [*result.images, *(s.path for s in result.skipped if s.path != folder)]
    assert sorted(os.fsencode(path.name) for path in seen) == sorted(contents)
