"""`cxrflow predict` as it is used: folders, odd names, every kind of output."""

import csv
import json
import os
import re
import shlex
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from io import StringIO
from pathlib import Path

import cv2
import grpc
import numpy as np
import pytest

from cxrflow.serving.client import Client
from tests.pipeline.command import Ended, cxrflow
from tests.serving.answering import Answering, answering
from tests.serving.certificates import certificate
from tests.serving.dicoms import write_dicom

REPO = Path(__file__).parents[2]
PNG = cv2.imencode(".png", np.zeros((64, 64), np.uint8))[1].tobytes()
NAMES = [
    b"a b.png", b"[red]c[bold].png", b":warning:.png", b"d\"e',.png", b"M\xfcller.png",
    b"new\nline.png", b"esc\x1b[31m.png", "ä日本.png".encode(), b"-f.png", b"g\\h.png",
]  # fmt: skip


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    with answering() as address:
        yield address


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Ten images of odd names, one damaged file, and three that are none."""
    folder = tmp_path / "x rays"
    folder.mkdir()
    for name in NAMES:
        (folder / os.fsdecode(name)).write_bytes(PNG)
    (folder / "cut.png").write_bytes(PNG[:-9])
    for name in ("notes.txt", "answers.csv", ".DS_Store"):
        (folder / name).write_text("no image")
    return folder


def predict(server: str, *args: str | Path, **settings: str | Path | None) -> Ended:
    return cxrflow("predict", "--server", server, *args, **settings)


SUMMARY = ["10 of 11 answered, 1 failed", "skipped 1: hidden (", "skipped 2: no image ("]


def check_summary(result: Ended) -> None:
    assert result.code == 1
    lines = result.err.splitlines()
    assert len(lines) == len(SUMMARY)
    assert all(line.startswith(start) for line, start in zip(lines, SUMMARY, strict=True))
    assert "notes.txt" in lines[2] and "answers.csv" in lines[2] and ".DS_Store" in lines[1]


def test_folder_as_csv(server: str, folder: Path) -> None:
    result = predict(server, folder, "--format", "csv")
    check_summary(result)
    rows = list(csv.DictReader(StringIO(result.out, newline="")))
    found = {Path(row["file"]).name: row for row in rows}
    decoded = {os.fsdecode(name) for name in NAMES} - {"M\udcfcller.png"}
    assert set(found) == {*decoded, r"M\xfcller.png", "cut.png"}
    row = found["a b.png"]
    assert (row["Edema"], row["Edema_threshold"], row["Edema_positive"]) == (
        "0.300000", "0.200000", "1",
    )  # fmt: skip
    assert (row["Mass_positive"], row["version"], row["error"]) == ("0", "7", "")
    assert found["cut.png"]["error"].startswith("cut short") and not found["cut.png"]["Mass"]


def test_folder_as_json(server: str, folder: Path) -> None:
    result = predict(server, folder, "--format", "json")
    check_summary(result)
    assert result.out.isascii()
    found = {Path(one["file"]).name: one for one in json.loads(result.out)}
    assert len(found) == 11 and found[r"M\xfcller.png"]["version"] == 7
    assert found["new\nline.png"]["findings"][1] == {
        "class": "Edema", "probability": 0.3, "threshold": 0.2, "positive": True,
    }  # fmt: skip


@pytest.mark.parametrize("encoding", ["utf-8", "latin-1", "ascii"])
def test_folder_as_table(server: str, folder: Path, encoding: str) -> None:
    result = predict(server, folder, encoding=encoding)
    check_summary(result)
    for name in (
        "[red]c[bold].png",
        ":warning:.png",
        r"M\xfcller.png",
        r"new\nline.png",
        "g\\h.png",
    ):
        assert name in result.out.replace("\n", ""), name
    assert "\x1b" not in result.out
    assert result.out.count("Hernia 0.020 (0.010) +") == 10


def test_everything_above_its_threshold_is_shown(server: str, folder: Path) -> None:
    result = predict(server, folder / "a b.png")
    assert result.code == 0 and not result.err
    rows = [re.split(" {2,}", line.strip())[0] for line in result.out.splitlines()]
    rows = rows[rows.index("class") + 2 :][:6]
    assert rows == ["Hernia +", "Edema +", "Fibrosis", "Mass", "Effusion", "Nodule"]
    assert "a b.png: cxrflow version 7" in result.out


@pytest.mark.parametrize("form", ["table", "json", "csv"])
def test_full_disk_is_one_line(server: str, folder: Path, form: str) -> None:
    result = predict(server, folder, "--format", form, out="/dev/full")
    assert result.code == 2 and result.err.count("\n") == 1
    assert "No space left on device" in result.err
    if form != "table":
        assert "it has 0 of 11 results, each whole" in result.err


@pytest.mark.parametrize("form", ["json", "csv"])
def test_disk_that_fills_up_has_whole_rows(server: str, tmp_path: Path, form: str) -> None:
    images = [tmp_path / f"{i}.png" for i in range(40)]
    for image in images:
        image.write_bytes(PNG)
    command = [sys.executable, "-m", "cxrflow.pipeline.cli", "predict", "--server", server]
    shell = f"ulimit -f 6; exec {shlex.join([*command, '--format', form, *map(str, images)])} > out"
    result = subprocess.run(
        ["bash", "-c", shell], stderr=subprocess.PIPE, text=True, cwd=tmp_path,
        # Python keeps bytecode that is cut off (github.com/python/cpython/issues/126606).
        env=os.environ | {"PYTHONPATH": str(REPO), "PYTHONDONTWRITEBYTECODE": "1"},
    )  # fmt: skip
    assert result.returncode == 2 and result.stderr.count("\n") == 1
    text = (tmp_path / "out").read_text()
    if form == "csv":
        rows = list(csv.DictReader(StringIO(text)))
        count = len(rows)
        assert text.endswith("\n") and rows[-1]["error"] == ""  # None if its last field is lacking
    else:
        count = len(json.loads(text + "]"))
    assert 0 < count < 40
    assert f"File too large; it has {count} of 40 results, each whole" in result.stderr


def test_reader_that_has_seen_enough(server: str, folder: Path) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    try:
        result = predict(server, folder, "--format", "csv", out=f"/proc/self/fd/{writer}")
    finally:
        os.close(writer)
    assert (result.code, result.err) == (1, "")


def test_ctrl_c_leaves_what_was_answered(
    server: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(client: Client, images: list[Path]) -> Iterator[object]:
        yield client.predict(images[0])
        raise KeyboardInterrupt

    monkeypatch.setattr(Client, "predict_all", interrupted)
    for form in ("table", "csv", "json"):
        result = predict(server, folder / "a b.png", folder / "cut.png", "--format", form)
        assert (result.code, result.err) == (130, "stopped\n")
        assert "a b.png" in result.out and "Hernia" in result.out


def test_four_of_the_fault_are_answered_or_named(server: str, shared_dir: Path) -> None:
    result = predict(server, shared_dir / "faults" / "folder_skips", "--format", "json")
    assert [Path(one["file"]).name for one in json.loads(result.out)] == [
        "headless_dicom", "jpeg.jfif", "ok.png", "png_without_suffix",
    ]  # fmt: skip
    assert (result.code, result.err) == (0, "")


def test_dicom_is_named_by_what_a_pacs_knows_it(server: str, tmp_path: Path) -> None:
    path = write_dicom(
        tmp_path / "a", np.arange(64 * 64, dtype=np.uint16).reshape(64, 64),
        StudyInstanceUID="1.2.3", SeriesInstanceUID="1.2.3.4", SOPInstanceUID="1.2.3.4.5",
        AccessionNumber="A17",
    )  # fmt: skip
    (tmp_path / "b.png").write_bytes(PNG)
    dicom, png = json.loads(predict(server, path, tmp_path / "b.png", "--format", "json").out)
    assert dicom["dicom"] == {
        "study_uid": "1.2.3", "series_uid": "1.2.3.4", "sop_uid": "1.2.3.4.5",
        "accession_number": "A17",
    }  # fmt: skip
    assert "dicom" not in png


def test_folder_without_images_and_what_is_no_file(server: str, tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    os.mkfifo(tmp_path / "pipe")
    result = predict(server, tmp_path / "a", tmp_path / "pipe", tmp_path / "gone.png")
    assert result.code == 1 and result.err == "0 of 3 answered, 3 failed\n"
    for reason in ("a folder without PNG", "no regular file", "can't be read: No such file"):
        assert reason in " ".join(result.out.replace("│", " ").split())


def test_unreadable_files_are_bad_ones_among_others(server: str, folder: Path) -> None:
    if os.getuid() == 0:
        pytest.skip("root may read everything")
    (folder / "a b.png").chmod(0)
    (folder / "closed").mkdir(mode=0)
    rows = list(csv.DictReader(StringIO(predict(server, folder, "--format", "csv").out)))
    refused = [Path(row["file"]).name for row in rows if "Permission denied" in row["error"]]
    assert refused == ["a b.png", "closed"]


# --- the server ----------------------------------------------------------------------------------


def test_ipv6(folder: Path) -> None:
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        pytest.skip("no IPv6 here")
    with answering(host="[::1]") as address:
        assert predict(address, folder / "a b.png").code == 0


@pytest.mark.parametrize(
    ("tells", "args", "line"),
    [
        (True, ["--model", "foo"], "there is no model foo, only cxrflow, lungs\n"),
        (
            True,
            ["--model", "lung"],
            "there is no model lung, only cxrflow, lungs, did you mean lungs?\n",
        ),
        (True, ["--version", "3"], "the model cxrflow has no version 3, only 7\n"),
        (False, ["--model", "foo"], "there is no model foo: name another with --model\n"),
        (False, ["--version", "3"], "the model cxrflow has no version 3, only 7\n"),
    ],
)
def test_model_that_is_not_there(tells: bool, args: list[str], line: str) -> None:
    with answering(Answering(tells=tells)) as address:
        result = predict(address, "a.png", *args)
    assert (result.code, result.err) == (2, f"cxrflow: {address}: {line}")


def test_rest_port_is_named_as_such() -> None:
    with _Rest(("127.0.0.1", 0), _Quiet) as rest:
        thread = threading.Thread(target=rest.serve_forever, daemon=True)
        thread.start()
        result = predict(f"127.0.0.1:{rest.server_port}", "a.png")
        rest.shutdown()
    assert result.code == 2 and result.err.count("\n") == 1
    assert "answers HTTP, not gRPC: that's the REST port" in result.err


@pytest.mark.slow
def test_encryption_on_one_side_only_is_named(tmp_path: Path) -> None:
    pem, key = certificate(tmp_path, "localhost")
    credentials = grpc.ssl_server_credentials([(Path(key).read_bytes(), Path(pem).read_bytes())])
    (tmp_path / "a.png").write_bytes(PNG)
    with answering(host="localhost", credentials=credentials) as address:
        assert predict(address, tmp_path / "a.png", "--tls-ca", pem).code == 0
        plain = predict(address, tmp_path / "a.png")
    with answering(host="localhost") as address:
        encrypted = predict(address, tmp_path / "a.png", "--tls-ca", pem)
    for ended, hint in (
        (plain, "wants an encrypted connection: give the CA of its certificate with --tls-ca"),
        (encrypted, "doesn't encrypt: leave the options --tls-ca, --tls-cert and --tls-key out"),
    ):
        line = ended.err.splitlines()[-1]  # gRPC's server talks, too
        assert ended.code == 2 and line.startswith("cxrflow: localhost:") and hint in line


class _Rest(HTTPServer):
    def handle_error(self, *_: object) -> None:
        """A client that hangs up is no error here."""


class _Quiet(BaseHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        """http.server would write to stderr."""


@pytest.mark.parametrize("values", [(float("nan"),) * 6, (1.5,) * 6, (-0.1,) * 6])
def test_what_is_no_probability_is_no_answer(values: tuple[float, ...], folder: Path) -> None:
    with answering(Answering(values)) as address:
        result = predict(address, folder / "a b.png", "--format", "json")
    assert result.code == 1
    assert json.loads(result.out)[0]["error"] == "the server's answer can't be understood"
