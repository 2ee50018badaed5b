"""The download, at its boundary: Kaggle's real client against a server of ours, and a stand-in."""

import errno
import http.server
import io
import threading
import zipfile

import pytest

from cxrflow.components.ingest import kaggle as ours
from cxrflow.schema.errors import CxrflowError

ROWS = [("00000001_000.png", "Mass"), ("00000002_000.png", "No Finding")]


@pytest.fixture
def archive(data_folder) -> bytes:
    root = data_folder(ROWS, table="sample_labels.csv", images="sample/images")
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as z:
        for path in sorted(root.rglob("*")):
            if path.is_file():
                z.write(path, path.relative_to(root))
        z.writestr("padding", bytes(3 * 2**20))  # the client reads 1 MiB at a time
    return buffer.getvalue()


@pytest.fixture
def stand_in(monkeypatch):
    """Replaces Kaggle's client by one that leaves `data` in the download folder."""

    class Client:
        data = b""
        calls = 0

        def dataset_download_files(self, name, path, quiet):
            assert (name, quiet) == ("nih-chest-xrays/sample", False)
            Client.calls += 1
            with open(f"{path}/sample.zip", "wb") as f:
                f.write(self.data)

    monkeypatch.setattr(ours, "_client", Client)
    return Client


def test_fetches_unpacks_and_checks(tmp_path, settings, archive, stand_in):
    stand_in.data = archive
    to = tmp_path / "new" / "folder"
    report = ours.download("sample", to, settings)
    assert report.rows == 2 and not report.problems
    assert (to / "sample" / "images" / ROWS[0][0]).is_file()
    assert [p.name for p in to.parent.iterdir()] == ["folder"], "archive and leftovers are gone"


def test_a_folder_in_use_is_left_alone(tmp_path, settings, stand_in):
    (tmp_path / "notes.txt").touch()
    with pytest.raises(CxrflowError, match="is not empty"):
        ours.download("sample", tmp_path, settings)
    assert stand_in.calls == 0


def test_a_full_disk_is_noticed_first(tmp_path, settings, stand_in, monkeypatch):
    usage = type("Usage", (), {"free": 50e9})
    monkeypatch.setattr(ours.shutil, "disk_usage", lambda _: usage)
    with pytest.raises(CxrflowError, match=r"90.2 GB are needed .*, 50.0 GB are free"):
        ours.download("full", tmp_path / "to", settings)
    assert stand_in.calls == 0


def test_a_damaged_archive_is_deleted_and_nothing_left(tmp_path, settings, archive, stand_in):
    broken = bytearray(archive)
    broken[100] ^= 1  # within the first image
    for data in (bytes(broken), archive[:-30], b"<html>"):
        stand_in.data = data
        with pytest.raises(CxrflowError, match="damaged"):
            ours.download("sample", tmp_path / "to", settings)
        assert not (tmp_path / "to").exists()
        assert not (tmp_path / "to.download" / "sample.zip").exists()
    stand_in.data = archive
    assert ours.download("sample", tmp_path / "to", settings).rows == 2


def test_a_disk_that_fills_while_unpacking_can_be_helped(
    tmp_path, settings, archive, stand_in, monkeypatch
):
    stand_in.data = archive
    extract = zipfile.ZipFile.extract

    def fill(self, member, path):
        if member.filename == "padding":
            raise OSError(errno.ENOSPC, "No space left on device", "padding")
        return extract(self, member, path)

    with monkeypatch.context() as patch:
        patch.setattr(zipfile.ZipFile, "extract", fill)
        with pytest.raises(CxrflowError, match=r"No space left on device \(padding\); make room"):
            ours.download("sample", tmp_path / "to", settings)
    assert not (tmp_path / "to").exists(), "nothing that looks whole"
    assert ours.download("sample", tmp_path / "to", settings).rows == 2


@pytest.mark.parametrize("to", ["file/to", "x" * 300, "loop", "a\nb", "M\udcfcller"])
def test_a_place_that_cannot_be_written_is_one_line(tmp_path, settings, stand_in, to):
    (tmp_path / "file").touch()
    (tmp_path / "loop").symlink_to("loop")
    with pytest.raises(CxrflowError, match=r"cannot write to|isn't UTF-8|is not empty") as caught:
        ours.download("sample", tmp_path / to, settings)
    assert str(caught.value).isprintable() and stand_in.calls == 0


@pytest.mark.parametrize("name", ["../evil.png", "/tmp/evil.png", "a/../../evil.png"])
def test_an_archive_cannot_write_elsewhere(tmp_path, settings, stand_in, name):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as z:
        z.writestr(name, b"x")
    stand_in.data = buffer.getvalue()
    with pytest.raises(CxrflowError, match="wants to write to"):
        ours.download("sample", tmp_path / "to", settings)
    assert not list(tmp_path.rglob("evil.png"))


@pytest.fixture
def kaggle_at_home(tmp_path, monkeypatch):
    """Kaggle's client with an empty home, and `serve(handler)` in place of Kaggle."""
    home = tmp_path / "home"
    (home / ".kaggle").mkdir(parents=True)
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("KAGGLE_CONFIG_DIR", str(home / ".kaggle"))
    for name in ("KAGGLE_API_TOKEN", "KAGGLE_USERNAME", "KAGGLE_KEY", "KAGGLE_KERNEL_RUN_TYPE"):
        monkeypatch.delenv(name, raising=False)
    from kaggle.api import kaggle_api_extended as client
    from kagglesdk import kaggle_env

    monkeypatch.setattr(client.KaggleApi, "config_dir", str(home / ".kaggle"))
    monkeypatch.setattr(client.KaggleApi, "config", str(home / ".kaggle" / "kaggle.json"))
    monkeypatch.setattr(client.KaggleApi, "config_values", {})
    monkeypatch.setattr(client.time, "sleep", lambda _: None)
    servers = []

    def serve(handler):
        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        servers.append(server)
        endpoint = f"http://127.0.0.1:{server.server_port}"
        monkeypatch.setitem(kaggle_env._env_to_endpoint, kaggle_env.KaggleEnv.PROD, endpoint)
        monkeypatch.setenv("NO_PROXY", "127.0.0.1")

    yield serve
    for server in servers:
        server.shutdown()
        server.server_close()


class Kaggle(http.server.BaseHTTPRequestHandler):
    """Answers as Kaggle does: a redirect to the file, which can be fetched in ranges."""

    data = b""
    cuts = 0  # how many answers break off halfway
    status = 200
    log: list[tuple[str, str | None]]

    def log_message(self, *_):
        pass

    def do_POST(self):
        self.rfile.read(int(self.headers["Content-Length"]))
        self.log.append((self.path, self.headers["Authorization"]))
        self.send_response(302 if self.status == 200 else self.status)
        self.send_header("Location", "/file")
        self.send_header("Content-Length", "0")
        self.end_headers()

    def do_GET(self):
        asked = self.headers["Range"]
        self.log.append((self.path, asked))
        start = int(asked.removeprefix("bytes=").rstrip("-")) if asked else 0
        body = self.data[start:]
        self.send_response(206 if asked else 200)
        self.send_header("Accept-Ranges", "bytes")
        self.send_header("ETag", '"1"')
        self.send_header("Last-Modified", "Mon, 02 Jan 2023 00:00:00 GMT")
        self.send_header("Content-Type", "application/zip")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if type(self).cuts:
            type(self).cuts -= 1
            body = body[: len(body) // 2]
        self.wfile.write(body)
        self.close_connection = True


def test_the_real_client_goes_on_after_a_broken_connection(
    kaggle_at_home, tmp_path, settings, archive, monkeypatch
):
    handler = type("Handler", (Kaggle,), {"data": archive, "cuts": 1, "log": []})
    kaggle_at_home(handler)
    monkeypatch.setenv("KAGGLE_USERNAME", "someone")
    monkeypatch.setenv("KAGGLE_KEY", "secret")
    report = ours.download("sample", tmp_path / "to", settings)
    assert report.rows == 2 and not report.problems
    (asked, credentials), first, second = handler.log
    assert asked == "/v1/datasets.DatasetApiService/DownloadDataset"
    assert credentials.startswith("Basic ")
    assert first == ("/file", None)
    assert second == ("/file", f"bytes={2**20}-")


def test_a_later_call_resumes_what_an_earlier_one_began(
    kaggle_at_home, tmp_path, settings, archive, monkeypatch
):
    handler = type("Handler", (Kaggle,), {"data": archive, "cuts": 6, "log": []})
    kaggle_at_home(handler)
    monkeypatch.setenv("KAGGLE_USERNAME", "someone")
    monkeypatch.setenv("KAGGLE_KEY", "secret")
    with pytest.raises(CxrflowError, match=r"the connection failed .* Run the command again"):
        ours.download("sample", tmp_path / "to", settings)
    assert not (tmp_path / "to").exists()
    had = (tmp_path / "to.download" / "sample.zip").stat().st_size
    handler.log.clear()
    assert ours.download("sample", tmp_path / "to", settings).rows == 2
    assert ("/file", f"bytes={had}-") in handler.log


@pytest.mark.parametrize(
    ("status", "message"),
    [(401, "refused the credentials"), (403, "accept its terms"), (404, "does not know")],
)
def test_refusals_in_plain_words(kaggle_at_home, tmp_path, settings, monkeypatch, status, message):
    kaggle_at_home(type("Handler", (Kaggle,), {"status": status, "log": []}))
    monkeypatch.setenv("KAGGLE_USERNAME", "someone")
    monkeypatch.setenv("KAGGLE_KEY", "secret")
    with pytest.raises(CxrflowError, match=message) as caught:
        ours.download("sample", tmp_path / "to", settings)
    assert "\n" not in str(caught.value)


def test_without_credentials_one_line_says_how_to_get_them(
    kaggle_at_home, tmp_path, settings, capsys
):
    with pytest.raises(CxrflowError, match="no valid Kaggle credentials: run `kaggle auth login`"):
        ours.download("sample", tmp_path / "to", settings)
    assert capsys.readouterr().out == ""
    assert not (tmp_path / "to.download").exists()
