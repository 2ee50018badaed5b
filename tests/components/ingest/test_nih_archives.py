"""NIH's own archives: what is taken, what is said to be missing, and what nobody unpacks."""

import gzip
import hashlib
import io
import shutil
import tarfile
import zlib
from pathlib import Path

import pytest

from cxrflow.components.ingest import nih_archives as ours
from cxrflow.components.ingest.data_card import read_card
from cxrflow.components.ingest.fetch import untar as untar_module
from cxrflow.components.ingest.fetch.bounds import BOUNDS, Bounds, Damaged, Unsafe
from cxrflow.components.ingest.fetch.untar import untar
from cxrflow.components.ingest.folder import find_folder
from cxrflow.schema.errors import CxrflowError
from cxrflow.schema.files import locked

pytestmark = pytest.mark.usefixtures("unsynced")

ROWS = [(f"0000000{i}_000.png", "Mass" if i % 2 else "No Finding") for i in range(1, 9)]


def tar_of(*members: tuple[tarfile.TarInfo, bytes], form: int = tarfile.USTAR_FORMAT) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz", format=form) as tar:
        for info, data in members:
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return buffer.getvalue()


def plain(name: str) -> tarfile.TarInfo:
    return tarfile.TarInfo(name)


def special(name: str, kind: bytes, target: str = "/etc/passwd") -> tarfile.TarInfo:
    info = plain(name)
    info.type, info.linkname = kind, target
    return info


@pytest.fixture
def nih(data_folder, tmp_path) -> Path:
    """A folder with the first two archives, table and lists, as one has fetched them."""
    data = data_folder(ROWS, train_val=[r[0] for r in ROWS[:5]], test=[r[0] for r in ROWS[5:]])
    folder = tmp_path / "nih"
    folder.mkdir()
    for name in ("Data_Entry_2017.csv", "train_val_list.txt", "test_list.txt"):
        (data / name).rename(folder / name)
    for number, rows in ((1, ROWS[:4]), (2, ROWS[4:])):
        folder_member = plain("images")
        folder_member.type = tarfile.DIRTYPE
        members = [(plain(f"images/{n}"), (data / "images" / n).read_bytes()) for n, _ in rows]
        archive = tar_of((folder_member, b""), *members)
        (folder / f"images_{number:03d}.tar.gz").write_bytes(archive)
    return folder


@pytest.fixture
def to(tmp_path) -> Path:
    return tmp_path / "to"


def test_what_is_there_is_unpacked_and_what_is_missing_said(nih, to, settings):
    taken = ours.take(nih, to, settings)
    assert taken.report.rows == 8 and not taken.report.problems and taken.report.split == "official"
    assert (to / "images_002" / "images" / ROWS[7][0]).is_file()
    missing, sizes = taken.said
    assert missing.startswith("missing: images_003.tar.gz, images_004.tar.gz")
    assert missing.endswith("images_012.tar.gz, BBox_List_2017.csv")
    assert sizes.startswith("not of the size that NIH published: images_001.tar.gz, images_002")
    names = sorted(p.name for p in to.iterdir())
    assert names == [
        *("Data_Entry_2017.csv", "data_card.json", "images_001", "images_002"),
        *("test_list.txt", "train_val_list.txt"),
    ]
    assert not to.with_name("to.download").exists()


def test_the_data_card_has_every_archive(nih, to, settings):
    ours.take(nih, to, settings)
    card = read_card(to)
    first, second = card.archives
    data = (nih / "images_001.tar.gz").read_bytes()
    assert (first.name, first.bytes, first.images) == ("images_001.tar.gz", len(data), 4)
    assert first.sha256 == hashlib.sha256(data).hexdigest()
    assert first.md5 == hashlib.md5(data).hexdigest()
    assert second.name == "images_002.tar.gz" and second.verified == "the archive's own checksum"
    assert (card.table.rows, card.table.images, card.table.patients) == (8, 8, 8)
    assert "images_012.tar.gz" in card.missing and card.source == ours.SOURCE


def test_nihs_md5_counts_for_what_has_nihs_size(nih, to, settings, monkeypatch):
    path = nih / "images_001.tar.gz"
    md5 = hashlib.md5(path.read_bytes()).hexdigest()
    known = {**ours.PUBLISHED, path.name: ours.Published(path.stat().st_size, "0" * 32)}
    monkeypatch.setattr(ours, "PUBLISHED", known)
    with pytest.raises(CxrflowError, match=f"images_001.*its MD5 is {md5}, not 0000.*Fetch it"):
        ours.take(nih, to, settings)
    assert not (to / "images_001").exists() and (to / "images_002").is_dir(), "the other is whole"
    assert not list(to.glob("*.csv")), "without a table nobody takes it for a data folder"
    known[path.name] = ours.Published(path.stat().st_size, md5)
    taken = ours.take(nih, to, settings)
    assert read_card(to).archives[0].verified == "NIH's MD5"
    assert "images_001" not in taken.said[1]


def test_the_published_archives_are_the_whole_set():
    assert sum(one.size for one in ours.PUBLISHED.values()) == 45_079_862_784
    assert len({one.md5 for one in ours.PUBLISHED.values()}) == len(ours.PUBLISHED) == 12


def test_what_comes_later_is_added_and_nothing_unpacked_twice(nih, to, settings, monkeypatch):
    second = nih / "images_002.tar.gz"
    later = second.rename(nih / "later")
    report = ours.take(nih, to, settings).report
    assert len(report.problems) == 4 and "max_bad_share" in report.stop
    assert [one.name for one in read_card(to).archives] == ["images_001.tar.gz"]
    later.rename(second)
    unpacked = []

    def watched(path, *args):
        unpacked.append(path.name)
        return untar(path, *args)

    monkeypatch.setattr(ours, "untar", watched)
    assert not ours.take(nih, to, settings).report.problems
    assert unpacked == ["images_002.tar.gz"]
    (to / "images_001" / "images" / ROWS[0][0]).unlink()
    assert not ours.take(nih, to, settings).report.problems
    assert unpacked == ["images_002.tar.gz", "images_001.tar.gz"]


def test_a_killed_call_is_gone_on_from(nih, to, settings, monkeypatch):
    """Killed between an archive's place and its note on the card: that archive is taken again."""
    with monkeypatch.context() as patch:
        patch.setattr(ours.DataCard, "with_archive", None)
        with pytest.raises(TypeError):
            ours.take(nih, to, settings)
    with pytest.raises(CxrflowError, match=r"has no table.*if it was stopped, run it again"):
        find_folder(to)
    aside = to.with_name("to.download")
    (aside / "images_001" / "images").mkdir(parents=True)
    (aside / "images_001" / "images" / "half.png").write_bytes(b"half")
    assert not ours.take(nih, to, settings).report.problems
    assert not list(to.rglob("half.png"))


def test_archives_can_be_unpacked_beside_themselves(nih, settings):
    assert not ours.take(nih, nih, settings).report.problems
    assert (nih / "images_001").is_dir() and (nih / "images_001.tar.gz").is_file()
    assert not ours.take(nih, nih, settings).report.problems


def test_images_without_a_folder_get_one(nih, to, settings, picture):
    (nih / "images_001.tar.gz").write_bytes(
        tar_of(*((plain(name), picture()) for name, _ in ROWS[:4]))
    )
    assert not ours.take(nih, to, settings).report.problems


def test_the_table_can_come_later(nih, to, settings):
    table = (nih / "Data_Entry_2017.csv").rename(nih / "later")
    with pytest.raises(CxrflowError, match=r"no table Data_Entry_2017\*\.csv, which NIH has"):
        ours.take(nih, to, settings)
    table.rename(nih / "Data_Entry_2017_v2020.csv")
    assert ours.take(nih, to, settings).report.rows == 8


def test_another_folder_is_left_alone(nih, to, settings):
    to.mkdir()
    (to / "notes.txt").touch()
    with pytest.raises(CxrflowError, match="is not empty"):
        ours.take(nih, to, settings)


@pytest.mark.parametrize("what", ["new", "made before", "archives beside"])
def test_a_mounted_volume_is_refused_before_anything_is_written(
    nih, to, settings, monkeypatch, what
):
    to = nih if what == "archives beside" else to
    if what == "made before":
        ours.take(nih, to, settings)
    before = sorted(to.iterdir()) if to.is_dir() else to.mkdir() or []
    monkeypatch.setattr("os.path.ismount", lambda path: Path(path) == to)
    with pytest.raises(CxrflowError, match=f"--to {to} is a mounted volume itself.*such as"):
        ours.take(nih, to, settings)
    assert sorted(to.iterdir()) == before
    assert not to.with_name(f"{to.name}.download").exists()
    assert not ours.take(nih, to / "xrays", settings).report.problems


def test_a_second_call_is_told_who_holds_the_folder(nih, to, settings):
    aside = to.with_name("to.download")
    aside.mkdir()
    with (
        locked(aside / ".lock", wait=False, holder="process 7"),
        pytest.raises(CxrflowError, match=r"another download writes to .* \(process 7\)"),
    ):
        ours.take(nih, to, settings)


def test_a_small_disk_is_noticed_before_anything_is_written(nih, to, settings, monkeypatch):
    usage = type("Usage", (), {"free": 1})
    monkeypatch.setattr("shutil.disk_usage", lambda _: usage)
    with pytest.raises(CxrflowError, match="the files of 2 archives need"):
        ours.take(nih, to, settings)
    assert not to.exists()


def test_what_a_killed_call_left_takes_no_room(nih, to, settings, monkeypatch):
    half = to.with_name("to.download") / "images_001" / "half.png"
    half.parent.mkdir(parents=True)
    half.touch()

    def usage(_):
        return type("Usage", (), {"free": 0 if half.exists() else 10**6})

    monkeypatch.setattr("shutil.disk_usage", usage)
    assert not ours.take(nih, to, settings).report.problems


def test_a_full_disk_is_one_line(nih, to, settings, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device", "x.png")

    monkeypatch.setattr(untar_module, "_write", full)
    with pytest.raises(CxrflowError, match=r"No space left on device \(x\.png\); run the command"):
        ours.take(nih, to, settings)


@pytest.fixture
def unpack(tmp_path):
    """Unpacks bytes as an archive, into a folder that is returned."""

    def run(data: bytes, bounds: Bounds = BOUNDS) -> Path:
        (tmp_path / "a.tar.gz").write_bytes(data)
        untar(tmp_path / "a.tar.gz", tmp_path / "out", lambda _: None, bounds)
        return tmp_path / "out"

    (tmp_path / "out").mkdir()
    return run


@pytest.mark.parametrize(
    "member",
    [
        plain("../evil"),
        plain("/tmp/evil"),
        plain("a/../../evil"),
        special("evil", tarfile.SYMTYPE),
        special("evil", tarfile.LNKTYPE),
        special("evil", tarfile.CHRTYPE),
        special("evil", tarfile.BLKTYPE),
        special("evil", tarfile.FIFOTYPE),
    ],
    ids=lambda member: f"{member.name} {member.type.decode()}",
)
def test_members_that_lead_elsewhere_are_refused(unpack, tmp_path, member):
    with pytest.raises(Unsafe, match=r"wants to write to|is a link, a device"):
        unpack(tar_of((plain("good"), b"1"), (member, b"")))
    assert not list(tmp_path.rglob("evil"))


def test_a_name_twice_is_refused(unpack):
    with pytest.raises(Unsafe, match="twice"):
        unpack(tar_of((plain("a"), b"1"), (plain("a"), b"2")))


def test_bombs_end_early(unpack):
    small = Bounds(spare_bytes=2**20)
    with pytest.raises(Unsafe, match="no archive of X-rays"):
        unpack(tar_of((plain("zeros"), bytes(8 * 2**20))), small)
    with pytest.raises(Unsafe, match="more than 3 files"):
        unpack(tar_of(*((plain(str(i)), b"") for i in range(5))), Bounds(files=3))


def test_a_header_that_fills_the_memory_is_refused(unpack):
    """tarfile reads a pax header in one piece, of whatever size it says."""
    header = plain("x")
    header.type = tarfile.XHDTYPE
    with pytest.raises(Unsafe, match="far too much"):
        unpack(tar_of((header, bytes(3 * 2**20))))


def test_a_file_behind_a_bomb_of_headers_is_not_looked_for(unpack):
    """A member whose size lies beyond the end: only a seek would notice."""
    info = plain("huge")
    info.size = 2**50
    data = gzip.compress(info.tobuf(tarfile.GNU_FORMAT) + bytes(1024))
    with pytest.raises(Unsafe, match="or more: that is no archive"):
        unpack(data)


def test_cut_short_is_damaged(unpack, tmp_path, picture):
    whole = tar_of(*((plain(f"images/{i}.png"), picture()) for i in range(3)))
    for at in range(0, len(whole) - 1, 7):
        with pytest.raises(Damaged):
            unpack(whole[:at])
        _empty(tmp_path / "out")


def test_a_flipped_bit_is_damage_or_changes_nothing(unpack, tmp_path, picture):
    whole = tar_of(*((plain(f"images/{i}.png"), picture()) for i in range(3)))
    found, places = 0, range(0, len(whole), 5)
    for at in places:
        try:
            out = unpack(whole[:at] + bytes([whole[at] ^ 16]) + whole[at + 1 :])
        except CxrflowError as error:
            assert str(error).isprintable()
            found += 1
        else:  # gzip's time, or bits between its blocks
            assert [p.read_bytes() for p in out.rglob("*.png")] == [picture()] * 3
        _empty(tmp_path / "out")
    assert found > 0.9 * len(places)


def _empty(folder: Path) -> None:
    shutil.rmtree(folder)
    folder.mkdir()


def test_a_broken_header_within_it_is_no_end(unpack, picture):
    """tarfile stops there in silence."""
    inner = bytearray(
        zlib.decompress(tar_of((plain("a.png"), picture()), (plain("b.png"), picture())), 31)
    )
    second = inner.index(b"b.png")
    inner[second + 148] ^= 1  # its checksum
    with pytest.raises(Damaged, match="a header within it is broken"):
        unpack(gzip.compress(bytes(inner)))


def test_a_png_that_is_none_is_found(unpack, picture):
    with pytest.raises(Damaged, match=r"bad\.png is no whole PNG"):
        unpack(tar_of((plain("good.png"), picture()), (plain("bad.png"), picture()[:-4])))


def test_long_names_and_both_kinds_of_header_are_read(unpack, picture):
    name = "images/" + "x" * 120 + ".png"
    for form in (tarfile.PAX_FORMAT, tarfile.GNU_FORMAT):
        out = unpack(tar_of((plain(name), picture()), form=form))
        assert (out / name).read_bytes() == picture()
        _empty(out)
