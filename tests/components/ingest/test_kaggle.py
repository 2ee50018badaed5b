"""The download, at its boundary: Kaggle's real client against a server of ours."""

import email.utils
import errno
import hashlib
import json
import os
import random
import signal
import time
import zipfile
from pathlib import Path

import pytest

from cxrflow.components.ingest import kaggle as ours
from cxrflow.components.ingest.data_card import read_card
from cxrflow.components.ingest.fetch import part, unzip
from cxrflow.schema.errors import CxrflowError
from cxrflow.schema.files import locked
from tests.pipeline.command import cxrflow
from tests.support.kaggle_server import ASK, FILE, KEY, USER, Kaggle, served

pytestmark = pytest.mark.usefixtures("unsynced")

ROWS = [("00000001_000.png", "Mass"), ("00000002_000.png", "No Finding")]
MB = 2**20


@pytest.fixture
def archive(data_folder, tmp_path) -> Path:
    """A sample of two X-rays, and 4 MB that look like any other bytes."""
    root = data_folder(ROWS, table="sample_labels.csv", images="sample/images")
    path = tmp_path / "archive.zip"
    with zipfile.ZipFile(path, "w") as z:
        for file in sorted(root.rglob("*")):
            if file.is_file():
                z.write(file, file.relative_to(root))
        z.writestr("padding", random.Random(0).randbytes(4 * MB))
    return path


@pytest.fixture
def waits(monkeypatch) -> list[float]:
    """The seconds that were waited for, and nobody waits."""
    waited: list[float] = []
    monkeypatch.setattr(time, "sleep", waited.append)
    return waited


@pytest.fixture
def kaggle(archive, tmp_path, monkeypatch, waits):
    """Kaggle's client with an empty home and good credentials, and a server of ours behind it."""
    home = tmp_path / "home"
    (home / ".kaggle").mkdir(parents=True)
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("KAGGLE_CONFIG_DIR", str(home / ".kaggle"))
    for name in ("KAGGLE_API_TOKEN", "KAGGLE_KERNEL_RUN_TYPE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("KAGGLE_USERNAME", USER)
    monkeypatch.setenv("KAGGLE_KEY", KEY)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    from kaggle.api import kaggle_api_extended as client
    from kagglesdk import kaggle_env

    monkeypatch.setattr(client.KaggleApi, "config_dir", str(home / ".kaggle"))
    monkeypatch.setattr(client.KaggleApi, "config", str(home / ".kaggle" / "kaggle.json"))
    monkeypatch.setattr(client.KaggleApi, "config_values", {})
    server = Kaggle(archive)
    with served(server) as endpoint:
        monkeypatch.setitem(kaggle_env._env_to_endpoint, kaggle_env.KaggleEnv.PROD, endpoint)
        yield server


@pytest.fixture
def to(tmp_path) -> Path:
    return tmp_path / "new" / "folder"


def test_fetches_verifies_unpacks_and_checks(kaggle, to, settings, archive):
    report = ours.download("sample", to, settings)
    assert report.rows == 2 and not report.problems and report.folder == str(to)
    assert (to / "sample" / "images" / ROWS[0][0]).is_file()
    assert (to / "padding").stat().st_size == 4 * MB
    assert [p.name for p in to.parent.iterdir()] == ["folder"], "archive and leftovers are gone"
    assert kaggle.asked == [(ASK, ""), (FILE, "")]


def test_a_data_card_lies_beside_the_data(kaggle, to, settings, archive):
    ours.download("sample", to, settings)
    card = read_card(to)
    assert card.source == "Kaggle, nih-chest-xrays/sample" and card.version == '"1"'
    assert "no restriction on use" in card.licence
    (one,) = card.archives
    data = archive.read_bytes()
    assert (one.name, one.bytes, one.images) == ("sample.zip", len(data), 2)
    assert one.sha256 == hashlib.sha256(data).hexdigest()
    table = (to / "sample_labels.csv").read_bytes()
    assert card.table.sha256 == hashlib.sha256(table).hexdigest()
    assert (card.table.rows, card.table.images, card.table.patients) == (2, 2, 2)


def test_a_connection_that_drops_every_200_kb_costs_no_byte_twice(
    kaggle, to, settings, archive, waits
):
    kaggle.drop_every = 200_000
    assert ours.download("sample", to, settings).rows == 2
    size = archive.stat().st_size
    assert len(kaggle.asked) == 1 + -(-size // 200_000), "one question, and one range a drop"
    assert kaggle.sent == size
    assert set(waits) == {1}, "each connection brought something: none counts as the next failure"


def test_a_server_without_ranges_is_asked_from_the_start(kaggle, to, settings):
    kaggle.ranges, kaggle.drop_every, kaggle.drops = False, 3 * MB, 2
    assert ours.download("sample", to, settings).rows == 2


@pytest.fixture
def half(kaggle, to, settings):
    """The archive of a download that was given up after a MB, when the server broke down."""
    kaggle.drop_every, kaggle.drops = MB, 1
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(time, "sleep", lambda _: kaggle.refusals[FILE].append((503, "")))
        with pytest.raises(CxrflowError, match=r"HTTP 503\. Run the command again to go on"):
            ours.download("sample", to, settings)
    kaggle.refusals.clear()
    kaggle.asked.clear()
    return to.with_name("folder.download") / "sample.zip"


def test_a_later_call_goes_on_where_an_earlier_one_gave_up(half, kaggle, to, settings):
    assert not to.exists() and half.stat().st_size == MB
    told = json.loads(half.with_name("sample.zip.json").read_text())
    assert (told["dataset"], told["etag"]) == ("nih-chest-xrays/sample", '"1"')
    assert (told["durable"], told["size"]) == (MB, kaggle.file.stat().st_size)
    assert told["url"].endswith("/file"), "without the signature, which is a key"
    assert ours.download("sample", to, settings).rows == 2
    assert kaggle.asked[-1] == (FILE, f"bytes={MB}-")


def test_bytes_of_another_program_are_not_gone_on_from(half, kaggle, to, settings):
    with half.open("r+b") as file:
        file.seek(MB // 2)
        file.write(b"written by another download")
    assert ours.download("sample", to, settings).rows == 2
    assert kaggle.asked[-1] == (FILE, ""), "all of it was fetched again"


def test_bytes_that_are_not_safe_are_fetched_again(half, kaggle, to, settings):
    with half.open("ab") as file:
        file.write(b"a second download goes on behind")
    assert ours.download("sample", to, settings).rows == 2
    assert kaggle.asked[-1] == (FILE, f"bytes={MB}-")


@pytest.mark.parametrize("text", ["", "{", "[]", '{"durable": 3}', '{"durable": "x", "sha256": 1}'])
def test_a_broken_sidecar_means_from_the_start(half, kaggle, to, settings, text):
    half.with_name("sample.zip.json").write_text(text)
    assert ours.download("sample", to, settings).rows == 2
    assert kaggle.asked[-1] == (FILE, "")


def test_another_version_on_the_server_means_from_the_start(half, kaggle, to, settings):
    kaggle.etag = '"2"'
    assert ours.download("sample", to, settings).rows == 2
    assert read_card(to).version == '"2"'


def test_a_version_that_changes_on_the_way_is_fetched_whole(kaggle, to, settings, monkeypatch):
    kaggle.drop_every, kaggle.drops = MB, 1
    monkeypatch.setattr(time, "sleep", lambda _: setattr(kaggle, "etag", '"2"'))
    assert ours.download("sample", to, settings).rows == 2
    assert read_card(to).version == '"2"'


def test_retry_after_is_kept(kaggle, to, settings, waits):
    kaggle.refusals[ASK] = [(429, "7")]
    date = _in(90)
    kaggle.refusals[FILE] = [(429, email.utils.format_datetime(date))]
    kaggle.drop_every, kaggle.drops = MB, 1
    kaggle.refusals[FILE].append((503, ""))
    assert ours.download("sample", to, settings).rows == 2
    left = (date - _in(0)).total_seconds()  # fewer than when it was told, and the date has no parts
    assert waits[0] == 7 and left - 1 <= waits[1] <= 90
    assert waits[2:] == [4, 1], "twice as long each time, from one again after a new byte"


def _in(seconds: float):
    from datetime import datetime, timedelta, timezone

    return datetime.now(timezone.utc) + timedelta(seconds=seconds)


def test_429_in_the_middle_is_no_part_of_the_file(kaggle, to, settings, waits):
    kaggle.drop_every, kaggle.drops = MB, 1
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(time, "sleep", _first(lambda: kaggle.refusals[FILE].append((429, "3"))))
        assert ours.download("sample", to, settings).rows == 2
    assert kaggle.sent == kaggle.file.stat().st_size


def test_a_link_that_expires_is_asked_for_again(kaggle, to, settings):
    kaggle.drop_every, kaggle.drops = MB, 1
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(time, "sleep", _first(lambda: kaggle.refusals[FILE].append((403, ""))))
        assert ours.download("sample", to, settings).rows == 2
    asked = [path for path, _ in kaggle.asked]
    assert asked == [ASK, FILE, FILE, ASK, FILE, FILE]
    assert kaggle.asked[-1] == (FILE, f"bytes={MB}-")


def _first(then):
    called = []

    def sleep(_: float) -> None:
        if not called:
            called.append(then())

    return sleep


@pytest.mark.parametrize(
    ("status", "retry_after", "message"),
    [
        (401, "", "refused the credentials"),
        (403, "", "accept its terms"),
        (404, "", "does not know this data set"),
        (418, "", "answers with HTTP 418"),
        (429, "", "asks to slow down"),
        (429, "7200", "asks to wait for 120 minutes"),
        (500, "", "answers with HTTP 500"),
    ],
)
def test_refusals_in_plain_words(kaggle, to, settings, status, retry_after, message):
    kaggle.refusals[ASK] = [(status, retry_after)] * 9
    with pytest.raises(CxrflowError, match=message) as caught:
        ours.download("sample", to, settings)
    assert str(caught.value).isprintable() and not any(to.parent.iterdir())


def test_wrong_credentials_are_one_line(kaggle, to, settings, monkeypatch):
    monkeypatch.setenv("KAGGLE_KEY", "wrong")
    with pytest.raises(CxrflowError, match="refused the credentials; create a new token"):
        ours.download("sample", to, settings)


@pytest.mark.parametrize("token", ["", "no such token"])
def test_without_valid_credentials_one_line_says_how_to_get_them(
    kaggle, to, settings, capsys, monkeypatch, token
):
    monkeypatch.delenv("KAGGLE_USERNAME")
    monkeypatch.setenv("KAGGLE_API_TOKEN", token)
    with pytest.raises(CxrflowError, match="no valid Kaggle credentials: run `kaggle auth login`"):
        ours.download("sample", to, settings)
    assert capsys.readouterr().out == ""
    assert not to.with_name("folder.download").exists()


@pytest.mark.parametrize(("status", "line"), [(403, "accept its terms"), (404, "not know")])
def test_the_command_ends_with_one_line_and_code_2(kaggle, to, status, line):
    kaggle.refusals[ASK] = [(status, "")]
    ended = cxrflow("data", "download", "--dataset", "sample", "--to", to)
    assert (ended.code, ended.out, ended.err.count("\n")) == (2, "", 1) and line in ended.err


def test_no_server_is_one_line(kaggle, to, settings, monkeypatch, waits):
    from kagglesdk import kaggle_env

    address = "http://127.0.0.1:9"  # where nobody listens
    monkeypatch.setitem(kaggle_env._env_to_endpoint, kaggle_env.KaggleEnv.PROD, address)
    with pytest.raises(CxrflowError, match=r"the connection failed \(ConnectionError\)"):
        ours.download("sample", to, settings)
    assert waits == [1, 2, 4, 8]


def test_a_damaged_archive_is_fetched_once_more(kaggle, to, settings, archive):
    good = archive.read_bytes()
    archive.write_bytes(good[:100] + bytes([good[100] ^ 1]) + good[101:])  # within the first image
    with pytest.MonkeyPatch.context() as patch:

        def mended(path, *args):
            try:
                return unzip.unzip(path, *args)
            finally:
                archive.write_bytes(good)

        patch.setattr(ours, "unzip", mended)
        assert ours.download("sample", to, settings).rows == 2
    assert [path for path, _ in kaggle.asked] == [ASK, FILE] * 2


def mixed(data: bytes) -> bytes:
    """What two downloads leave that write into one file, each with a position of its own."""
    at = [0, len(data) // 3]
    file = bytearray(len(data))
    for turn in range(0, len(data), 64 * 1024):
        one = turn // (64 * 1024) % 2
        piece = data[turn : turn + 64 * 1024]
        file[at[one] : at[one] + len(piece)] = piece
        at[one] += len(piece)
    return bytes(file[: len(data)])


@pytest.mark.parametrize(
    "broken",
    [
        lambda data: data[:100] + bytes([data[100] ^ 1]) + data[101:],
        lambda data: data[:-30],
        lambda data: data[: len(data) // 2],
        lambda data: data[: 2 * MB] + data,
        lambda data: b"<html>",
        lambda data: b"",
        mixed,
    ],
    ids=["a bit", "no end", "half", "twice begun", "a page", "nothing", "of two downloads"],
)
def test_an_archive_that_stays_damaged_leaves_nothing(kaggle, to, settings, archive, broken):
    good = archive.read_bytes()
    archive.write_bytes(broken(good))
    with pytest.raises(CxrflowError, match=r"was damaged \(twice the same: ") as caught:
        ours.download("sample", to, settings)
    assert str(caught.value).isprintable() and not any(to.parent.iterdir())
    archive.write_bytes(good)
    assert ours.download("sample", to, settings).rows == 2


def test_the_servers_own_md5_counts(kaggle, to, settings):
    kaggle.headers["x-goog-hash"] = "crc32c=AAAAAA==,md5=1B2M2Y8AsgTpgAmY7PhCfg=="  # of no bytes
    with pytest.raises(CxrflowError, match=r"its MD5 is .*, not d41d8cd98f00b204e9800998ecf8427e"):
        ours.download("sample", to, settings)


def test_a_second_download_is_told_who_holds_the_folder(kaggle, to, settings):
    aside = to.with_name("folder.download")
    aside.mkdir(parents=True)
    holder = "process 123 on host since then"
    with (
        locked(aside / ".lock", wait=False, holder=holder),
        pytest.raises(CxrflowError, match=rf"another download writes to .* \({holder}\): wait"),
    ):
        ours.download("sample", to, settings)
    assert ours.download("sample", to, settings).rows == 2


def test_a_folder_in_use_is_left_alone(kaggle, tmp_path, settings):
    (tmp_path / "notes.txt").touch()
    with pytest.raises(CxrflowError, match="is not empty"):
        ours.download("sample", tmp_path, settings)
    assert not kaggle.asked


@pytest.fixture
def volume(tmp_path, monkeypatch) -> Path:
    """An empty folder that looks like the mount point of a container's volume."""
    folder = tmp_path / "volume"
    folder.mkdir()
    is_mount = os.path.ismount
    monkeypatch.setattr(os.path, "ismount", lambda path: Path(path) == folder or is_mount(path))
    return folder


def test_a_mounted_volume_is_refused_before_anything_is_fetched(kaggle, volume, settings):
    with pytest.raises(CxrflowError, match=f"--to {volume} is a mounted volume itself.*such as"):
        ours.download("sample", volume, settings)
    assert not kaggle.asked and not volume.with_name("volume.download").exists()
    assert ours.download("sample", volume / "xrays", settings).rows == 2


@pytest.mark.parametrize("free", [0, 4 * MB, 6 * MB])
def test_a_small_disk_is_noticed_before_anything_is_written(
    kaggle, to, settings, monkeypatch, free
):
    usage = type("Usage", (), {"free": free})
    monkeypatch.setattr("shutil.disk_usage", lambda _: usage)
    monkeypatch.setattr(part.Part, "append", None)
    with pytest.raises(CxrflowError, match=r"need 8\.6 MB in .* MB are free: make room"):
        ours.download("sample", to, settings)


def test_a_disk_that_fills_while_unpacking_can_be_helped(kaggle, to, settings, monkeypatch):
    write = unzip._write

    def fill(source, info, path):
        if info.filename == "padding":
            raise OSError(errno.ENOSPC, "No space left on device", "padding")
        write(source, info, path)

    with monkeypatch.context() as patch:
        patch.setattr(unzip, "_write", fill)
        with pytest.raises(CxrflowError, match=r"No space left on device \(padding\); make room"):
            ours.download("sample", to, settings)
    assert not to.exists(), "nothing that looks whole"
    kaggle.asked.clear()
    assert ours.download("sample", to, settings).rows == 2
    assert kaggle.asked == [(ASK, ""), (FILE, "")], "Kaggle has the same version still"


def test_a_kill_while_unpacking_asks_for_no_room_twice(kaggle, to, settings, monkeypatch, disk):
    write = unzip._write

    def killed(source, info, path):
        if info.filename == "padding":
            path.write_bytes(bytes(3 * MB))
            os.kill(os.getpid(), signal.SIGKILL)
        write(source, info, path)

    child = os.fork()
    if not child:
        try:
            monkeypatch.setattr(unzip, "_write", killed)
            ours.download("sample", to, settings)
        finally:
            os._exit(1)
    assert os.WTERMSIG(os.waitpid(child, 0)[1]) == signal.SIGKILL
    assert (to.with_name("folder.download") / "unpacked" / "padding").stat().st_size == 3 * MB
    assert ours.download("sample", to, settings).rows == 2


@pytest.fixture
def disk(monkeypatch, tmp_path, archive) -> None:
    """A disk that holds the archive and its files, and little more."""
    size = int(2.1 * archive.stat().st_size)

    def usage(_):
        aside = tmp_path / "new" / "folder.download"
        taken = sum(path.stat().st_size for path in aside.rglob("*") if path.is_file())
        return type("Usage", (), {"free": size - taken})

    monkeypatch.setattr("shutil.disk_usage", usage)


@pytest.mark.parametrize("to", ["file/to", "x" * 300, "loop", "a\nb", "M\udcfcller"])
def test_a_place_that_cannot_be_written_is_one_line(kaggle, tmp_path, settings, to):
    (tmp_path / "file").touch()
    (tmp_path / "loop").symlink_to("loop")
    with pytest.raises(CxrflowError, match=r"cannot write to|isn't UTF-8|is not empty") as caught:
        ours.download("sample", tmp_path / to, settings)
    assert str(caught.value).isprintable() and not kaggle.asked


def test_an_unsafe_archive_is_not_fetched_again(kaggle, to, settings, archive):
    with zipfile.ZipFile(archive, "w") as z:
        z.writestr("../evil.png", b"x")
    with pytest.raises(CxrflowError, match=r"wants to write to \.\./evil\.png: what Kaggle sent"):
        ours.download("sample", to, settings)
    assert [path for path, _ in kaggle.asked] == [ASK, FILE]
    assert not any(to.parent.iterdir())


def test_an_archive_without_a_table_is_unpacked_and_says_so(kaggle, to, settings, archive):
    with zipfile.ZipFile(archive, "w") as z:
        z.writestr("notes.txt", b"x")
    with pytest.raises(CxrflowError, match=f"{to} has no table"):
        ours.download("sample", to, settings)
    assert [p.name for p in to.parent.iterdir()] == ["folder"]
    assert read_card(to).table is None


def test_what_a_kill_left_beside_a_whole_folder_is_named(kaggle, to, settings):
    ours.download("sample", to, settings)
    to.with_name("folder.download").mkdir()
    with pytest.raises(CxrflowError, match=r"is not empty.*folder\.download is left of a download"):
        ours.download("sample", to, settings)


def test_kill_9_costs_what_was_not_synced(kaggle, to, settings, monkeypatch):
    """A killed process runs no handler: only what was synced on the way counts."""
    monkeypatch.setattr(part, "_SYNC_BYTES", 500_000)
    aside = to.with_name("folder.download")
    kaggle.drop_every = MB
    child = os.fork()
    if not child:
        try:
            monkeypatch.setattr(time, "sleep", lambda _: os.kill(os.getpid(), signal.SIGKILL))
            ours.download("sample", to, settings)
        finally:
            os._exit(1)
    _, status = os.waitpid(child, 0)
    assert os.WTERMSIG(status) == signal.SIGKILL
    safe = json.loads((aside / "sample.zip.json").read_text())["durable"]
    assert 500_000 <= safe <= (aside / "sample.zip").stat().st_size == MB
    kaggle.drop_every = 0
    kaggle.asked.clear()
    assert ours.download("sample", to, settings).rows == 2
    assert kaggle.asked[-1] == (FILE, f"bytes={safe}-")
