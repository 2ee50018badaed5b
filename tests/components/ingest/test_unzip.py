"""Archives: what is refused before anything is written, what is damaged, what is gone on from."""

import random
import stat
import struct
import zipfile
from pathlib import Path

import pytest

from cxrflow.components.ingest.fetch import unzip as module
from cxrflow.components.ingest.fetch.bounds import Bounds, Damaged, Unsafe
from cxrflow.components.ingest.fetch.unzip import unzip
from cxrflow.schema.errors import CxrflowError


@pytest.fixture
def make(tmp_path):
    """Writes an archive of files, given as bytes by name."""

    def write(files: dict[str, bytes], packed: int = zipfile.ZIP_STORED) -> Path:
        path = tmp_path / "a.zip"
        with zipfile.ZipFile(path, "w", packed) as z:
            for name, data in files.items():
                z.writestr(name, data)
        return path

    return write


def files_in(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if not p.is_dir()}


def test_everything_is_there_afterwards(make, tmp_path, picture):
    files = {"images/a.png": picture(), "images/b.PNG": picture(), "empty": b"", "x/y/t.csv": b"1"}
    out = unzip(make(files, zipfile.ZIP_DEFLATED), tmp_path / "to")
    assert files_in(tmp_path / "to") == files
    assert (out.files, out.images, out.bytes) == (4, 2, sum(map(len, files.values())))


@pytest.mark.parametrize(
    "name",
    [
        *("../evil", "/tmp/evil", "a/../../evil", "..", "a\\..\\..\\evil", "C:/evil"),
        *("a\nb", "x" * 300, "/".join(["d" * 200] * 6)),
    ],
)
def test_a_name_that_leads_elsewhere_is_refused(make, tmp_path, name):
    path = make({"good": b"1", name: b"x"})
    with pytest.raises(Unsafe, match="wants to write to") as caught:
        unzip(path, tmp_path / "to")
    assert str(caught.value).isprintable()
    assert not (tmp_path / "to").exists() and not list(tmp_path.rglob("evil*"))


@pytest.mark.parametrize("kind", [stat.S_IFLNK, stat.S_IFIFO, stat.S_IFCHR, stat.S_IFSOCK])
def test_links_and_devices_are_refused(tmp_path, kind):
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as z:
        info = zipfile.ZipInfo("link")
        info.external_attr = (kind | 0o777) << 16
        z.writestr(info, "/etc/passwd")
    with pytest.raises(Unsafe, match="a link or a device"):
        unzip(tmp_path / "a.zip", tmp_path / "to")


def test_encrypted_files_are_refused(make, tmp_path):
    path = make({"secret": b"1"})
    data = bytearray(path.read_bytes())
    data[data.index(b"PK\1\2") + 8] |= 1
    path.write_bytes(data)
    with pytest.raises(Unsafe, match="is encrypted"):
        unzip(path, tmp_path / "to")


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_a_name_twice_is_refused(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as z:
        z.writestr("a", b"1")
        z.writestr("./a", b"2")
    with pytest.raises(Unsafe, match="twice"):
        unzip(tmp_path / "a.zip", tmp_path / "to")


@pytest.mark.parametrize(
    ("files", "bounds", "reason"),
    [
        ({"a": bytes(1000)}, Bounds(ratio=1, spare_bytes=0), "unpacks to 1,000 or more"),
        ({"a": bytes(9000)}, Bounds(spare_member_bytes=1000), "a in a.zip unpacks to 9,000 bytes"),
        ({str(i): b"" for i in range(4)}, Bounds(files=3), "more than 3 files"),
    ],
)
def test_bombs_are_refused(make, tmp_path, files, bounds, reason):
    with pytest.raises(Unsafe, match=reason):
        unzip(make(files, zipfile.ZIP_DEFLATED), tmp_path / "to", bounds)
    assert not (tmp_path / "to").exists()


def test_files_that_share_their_bytes_are_refused(make, tmp_path):
    """As in Fifield's bomb: many entries of the directory name one file."""
    path = make({"a": random.Random(0).randbytes(5000)})
    data = path.read_bytes()
    begin, end = data.index(b"PK\1\2"), data.index(b"PK\5\6")
    entry = data[begin:end]
    others = [entry[:46] + bytes([97 + i]) + entry[47:] for i in range(3)]
    directory = b"".join(others)
    tail = struct.pack("<4s4H2LH", b"PK\5\6", 0, 0, 3, 3, len(directory), begin, 0)
    path.write_bytes(data[:begin] + directory + tail)
    with pytest.raises(Unsafe, match="files overlap"):
        unzip(path, tmp_path / "to")


def test_a_file_larger_than_declared_is_damaged(make, tmp_path):
    path = make({"a": b"x" * 1000}, zipfile.ZIP_DEFLATED)
    data = bytearray(path.read_bytes())
    at = data.index(b"PK\1\2")
    data[at + 24 : at + 28] = struct.pack("<L", 10)  # its size
    path.write_bytes(data)
    with pytest.raises(Damaged, match="Bad CRC-32"):
        unzip(path, tmp_path / "to")
    assert all(len(data) <= 10 for data in files_in(tmp_path / "to").values())


def test_a_flipped_bit_anywhere_is_found_or_changes_no_file(make, tmp_path, picture):
    files = {"a.png": picture(), "t.csv": b"a,b\n1,2\n"}
    path = make(files)
    good = path.read_bytes()
    image = range(good.index(files["a.png"]), good.index(files["a.png"]) + len(files["a.png"]))
    for at in range(0, len(good), 3):
        path.write_bytes(good[:at] + bytes([good[at] ^ 4]) + good[at + 1 :])
        to = tmp_path / str(at)
        try:
            unzip(path, to)
        except CxrflowError as error:
            assert str(error).isprintable()
        else:  # a time stamp or a comment, or a file's name
            assert at not in image
            assert sorted(files_in(to).values()) == sorted(files.values())


@pytest.mark.parametrize(
    "broken",
    [
        lambda png: png[:-1],
        lambda png: png[:40],
        lambda png: b"\x88" + png[1:],
        lambda png: png[:20] + b"\xff" + png[21:],
        lambda png: b"",
        lambda png: png + b"more",
    ],
)
def test_a_png_that_is_none_is_found_though_its_checksum_is_right(make, tmp_path, picture, broken):
    path = make({"good.png": picture(), "images/bad.png": broken(picture())})
    with pytest.raises(Damaged, match=r"images/bad\.png is no whole PNG"):
        unzip(path, tmp_path / "to")


def test_a_jpeg_by_the_name_of_a_png_is_found(make, tmp_path, picture):
    with pytest.raises(Damaged, match="is no PNG but a JPEG"):
        unzip(make({"a.png": picture(kind="JPEG")}), tmp_path / "to")


def test_an_interrupted_call_is_gone_on_from(make, tmp_path, picture, monkeypatch):
    files = {f"images/{i}.png": picture(64 + i) for i in range(200)}
    path, to = make(files), tmp_path / "to"
    write, written = module._write, []

    def stop(source, info, target):
        if len(written) >= 100:
            raise KeyboardInterrupt
        written.append(info.filename)
        write(source, info, target)

    with monkeypatch.context() as patch:
        patch.setattr(module, "_write", stop)
        with pytest.raises(KeyboardInterrupt):
            unzip(path, to)
    before = {name: (to / name).stat().st_ino for name in files_in(to)}
    assert 100 <= len(before) < 200
    cut, flipped = list(before)[:2]
    (to / cut).write_bytes(files[cut][:-5])  # as a killed process leaves it
    (to / flipped).write_bytes(files[flipped][:-5] + b"12345")
    times = {name: (to / name).stat().st_mtime_ns for name in before}
    (to / "from another archive").write_bytes(b"1")
    (to / "link").symlink_to("/etc")
    (to / "folder" / "of it").mkdir(parents=True)
    assert unzip(path, to).files == 200
    assert files_in(to) == files and sorted(p.name for p in to.iterdir()) == ["images"]
    again = {name for name in before if (to / name).stat().st_mtime_ns != times[name]}
    assert again == {cut, flipped}


def test_a_small_disk_is_noticed_before_anything_is_written(make, tmp_path, monkeypatch):
    usage = type("Usage", (), {"free": 999})
    monkeypatch.setattr("shutil.disk_usage", lambda _: usage)
    with pytest.raises(
        CxrflowError, match=r"the files of a\.zip need .* in .* are free: make room"
    ):
        unzip(make({"a": bytes(1000)}), tmp_path / "to")
    assert not files_in(tmp_path / "to")


@pytest.mark.parametrize("data", [b"", b"PK", b"<html>", bytes(100)])
def test_what_is_no_archive_is_damaged(tmp_path, data):
    (tmp_path / "a.zip").write_bytes(data)
    with pytest.raises(Damaged, match=r"a\.zip is damaged \(File is not a zip file\)"):
        unzip(tmp_path / "a.zip", tmp_path / "to")


def test_cut_short_anywhere_is_damaged(make, tmp_path, picture):
    path = make({"a.png": picture(), "b.png": picture()})
    whole = path.read_bytes()
    for at in range(0, len(whole), 97):
        path.write_bytes(whole[:at])
        with pytest.raises(Damaged):
            unzip(path, tmp_path / "to")
