"""A half-written CSV or JSON Lines is gone on with; a server that fails on and on is given up."""

import csv
import json
import os
import threading
from collections.abc import Iterator
from pathlib import Path

import cv2
import grpc
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cxrflow.pipeline import predict as predict_module
from cxrflow.serving.client import Client, ClientConfig
from cxrflow.serving.client.client import GaveUp
from cxrflow.serving.client.settings import RetryPolicy
from tests.pipeline.command import Ended, cxrflow
from tests.serving.answering import Answering, answering

PNG = cv2.imencode(".png", np.zeros((64, 64), np.uint8))[1].tobytes()
NAMES = ("a.png", 'b",\n"".png', "c\n.png", "d ä日本.png", "e\\xfc.png", "f.png")


class Counting(Answering):
    """Answers as long as it may, then refuses with `code`; counts."""

    def __init__(
        self, answers: int = 10**9, code: grpc.StatusCode = grpc.StatusCode.UNAVAILABLE
    ) -> None:
        super().__init__()
        self.answers, self.code, self.asked = answers, code, 0
        self.lock = threading.Lock()

    def Predict(self, request, context):
        with self.lock:
            self.asked += 1
            self.answers -= 1
            if self.answers < 0:
                context.abort(self.code, "too much at once")
        return super().Predict(request, context)


@pytest.fixture(scope="module")
def counting() -> Counting:
    return Counting()


@pytest.fixture(scope="module")
def server(counting: Counting) -> Iterator[str]:
    with answering(counting) as address:
        yield address


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six images of names that CSV has to quote."""
    folder = tmp_path_factory.mktemp("images")
    for name in NAMES:
        (folder / name).write_bytes(PNG)
    return folder


def predict(server: str, *args: str | Path) -> Ended:
    return cxrflow("predict", "--server", server, *args)


@pytest.fixture(scope="module")
def unbroken(server: str, folder: Path, tmp_path_factory: pytest.TempPathFactory) -> dict:
    whole = {}
    for form in ("csv", "jsonl"):
        path = tmp_path_factory.mktemp("out") / f"answers.{form}"
        assert predict(server, folder, "--resume", path).code == 0
        whole[form] = path.read_bytes()
        assert whole[form].decode() == predict(server, folder, "--format", form).out
    return whole


@pytest.mark.slow
@pytest.mark.parametrize("form", ["csv", "jsonl"])
@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(data=st.data())
def test_cut_anywhere_and_resumed_it_is_the_unbroken_file(
    form: str, data: st.DataObject, server: str, folder: Path, unbroken: dict, tmp_path: Path,
    counting: Counting,
) -> None:  # fmt: skip
    whole = unbroken[form]
    cut = data.draw(st.integers(0, len(whole)))
    path = tmp_path / f"answers.{form}"
    path.write_bytes(whole[:cut])
    before = counting.asked
    ended = predict(server, folder, "--resume", path)
    assert ended.code == 0, ended.err
    assert path.read_bytes() == whole
    rest = whole[cut:].decode(errors="ignore")
    asked = counting.asked - before
    # A row whose end is missing is asked again, and no other one.
    assert asked <= len(NAMES) and (asked == 0) == (not rest)
    if 0 < asked < len(NAMES):
        assert f"{len(NAMES) - asked} were answered already" in ended.err


@pytest.mark.parametrize("form", ["csv", "jsonl"])
def test_failed_ones_are_asked_again_and_stand_there_once(
    form: str, server: str, folder: Path, tmp_path: Path
) -> None:
    bad = tmp_path / "images"
    bad.mkdir()
    for name in "abcd":
        (bad / f"{name}.png").write_bytes(PNG[:-5] if name in "bd" else PNG)
    path = tmp_path / f"answers.{form}"
    path.touch(mode=0o640)
    link = tmp_path / f"link.{form}"
    link.symlink_to(path)
    assert predict(server, bad, "--resume", link).code == 1
    first = path.read_bytes()
    assert predict(server, bad, "--resume", link).code == 1
    assert sorted(path.read_bytes().splitlines()) == sorted(first.splitlines())
    (bad / "b.png").write_bytes(PNG)
    ended = predict(server, bad, "--resume", link)
    assert (ended.code, "1 of 2 answered, 1 failed" in ended.err) == (1, True)
    (bad / "d.png").write_bytes(PNG)
    assert predict(server, bad, "--resume", link).code == 0
    files = [Path(row["file"]).name for row in _rows(path)]
    assert files == ["a.png", "c.png", "b.png", "d.png"]
    assert not any(row.get("error") for row in _rows(path))
    assert link.is_symlink() and path.stat().st_mode & 0o777 == 0o640
    assert not [p for p in tmp_path.iterdir() if p.name.startswith(".")]


def _rows(path: Path) -> list[dict]:
    with open(path, newline="") as file:
        return [json.loads(line) for line in file] if path.suffix == ".jsonl" else [
            *csv.DictReader(file)
        ]  # fmt: skip


@pytest.mark.parametrize(
    ("name", "change", "args", "line"),
    [
        ("x.csv", lambda b: b.replace(b"Edema", b"Oedema", 1), (), "no output of"),
        ("x.csv", lambda b: b"name,age\n", (), "no output of `cxrflow predict --format csv`"),
        ("x.csv", lambda b: b"precious notes", (), "it is left as it is"),
        ("x.csv", lambda b: b[: b.index(b"\n") + 1] + b"1,2\n", (), "no output of"),
        ("x.csv", lambda b: b"\xff\xfe" + b, (), "no output of"),
        ("x.csv", lambda b: b.replace(b",7,", b",6,"), (), "it has answers of version 6, and"),
        ("x.csv", lambda b: b.replace(b",cxrflow,", b",cxr,"), (), "answers of the model cxr, not"),
        ("x.jsonl", lambda b: b"[\n" + b, (), "no output of"),
        ("x.jsonl", lambda b: b"precious", (), "it is left as it is"),
        ("x.jsonl", lambda b: b"{}\n", (), "no output of"),
        ("x.jsonl", lambda b: b'{"file": 3, "error": ""}\n', (), "no output of"),
        ("x.jsonl", lambda b: b.replace(b'n": 7', b'n": 6'), (), "give --version 6, or name"),
        ("x.jsonl", lambda b: b.replace(b'"notes"', b'"attention": [], "notes"'), (), "attention"),
        ("x.txt", None, (), "name it .csv or .jsonl, or give --format csv or jsonl"),
        ("x.csv", None, ("--format", "json"), "goes on with csv or jsonl, not with --format json"),
        ("x.csv", None, ("--format", "jsonl"), "no output of `cxrflow predict --format jsonl`"),
    ],
)
def test_another_file_is_refused_and_left(
    name: str, change, args: tuple, line: str, server: str, folder: Path, unbroken: dict,
    tmp_path: Path,
) -> None:  # fmt: skip
    path = tmp_path / name
    whole = unbroken["jsonl" if name.endswith("l") else "csv"]
    path.write_bytes(change(whole) if change else whole)
    before = path.read_bytes()
    ended = predict(server, folder, "--resume", path, *args)
    assert ended.code == 2 and ended.err.count("\n") == 1 and line in ended.err
    assert path.read_bytes() == before


def test_two_runs_do_not_write_the_same_file(server: str, folder: Path, tmp_path: Path) -> None:
    from cxrflow.serving.client.resume import opened

    path = tmp_path / "x.csv"
    with opened(path):
        assert "another run writes it" in predict(server, folder, "--resume", path).err


def test_full_disk_keeps_what_was_answered(
    server: str, folder: Path, tmp_path: Path, unbroken: dict, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "x.csv"
    bad = tmp_path / "cut.png"
    bad.write_bytes(PNG[:-3])
    assert predict(server, bad, folder / "a.png", "--resume", path).code == 1
    before = path.read_bytes()

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("cxrflow.serving.client.resume.os.fsync", full)
    assert predict(server, folder, "--resume", path).code == 2
    assert path.read_bytes() == before and sorted(os.listdir(tmp_path)) == ["cut.png", "x.csv"]


# --- giving up -----------------------------------------------------------------------------------


def _client(address: str, **wanted) -> Client:
    return Client(ClientConfig(server=address, retry=RetryPolicy(attempts=2, pause=0.01), **wanted))


@pytest.mark.parametrize("code", [grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED])
def test_gives_up_after_so_many_failures_in_a_row(code: grpc.StatusCode, folder: Path) -> None:
    images = [folder / "a.png"] * 50
    servicer = Counting(5, code)
    with answering(servicer) as address, _client(address, give_up=4, window=2) as client:
        found = []
        with pytest.raises(GaveUp, match="gave up after 4 failures in a row of the server"):
            for result in client.predict_all(images):
                found.append(result)
    answered = [hasattr(one, "findings") for one in found]
    assert answered.count(True) == 5
    # Two are under way at a time: the sixth request may be the fifth image.
    assert answered[-4:] == [False] * 4 and len(found) <= 10 and servicer.asked < 30


def test_refused_images_are_no_failures_of_the_server(folder: Path, tmp_path: Path) -> None:
    bad = tmp_path / "bad.png"
    bad.write_bytes(PNG[:-5])
    with answering(Counting(0)) as address, _client(address, give_up=2, window=1) as client:
        assert len(list(client.predict_all([bad] * 5))) == 5
        with pytest.raises(GaveUp):  # nor do they end a row
            list(client.predict_all([folder / "a.png", bad, folder / "a.png", bad]))
    with answering(Counting(0)) as address, _client(address, give_up=0, window=4) as client:
        assert len(list(client.predict_all([folder / "a.png"] * 12))) == 12


@pytest.mark.parametrize("form", ["csv", "json", "jsonl", "table"])
def test_what_was_answered_is_kept_and_gone_on_with(
    form: str, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        predict_module,
        "Client",
        lambda config: _client(config.server, give_up=config.give_up, window=1),
    )
    images = [tmp_path / f"{i}.png" for i in range(9)]
    for image in images:
        image.write_bytes(PNG)
    servicer = Counting(4)
    with answering(servicer) as address:
        resumable = form in ("csv", "jsonl")
        args = ["--resume", tmp_path / f"x.{form}"] if resumable else ["--format", form]
        ended = predict(address, *images, "--give-up", "2", *args)
        assert ended.code == 2 and "Traceback" not in ended.err
        again = "the same command" if resumable else "--resume FILE"
        assert ended.err.splitlines()[-1] == (
            "cxrflow: gave up after 2 failures in a row of the server: UNAVAILABLE: too much at "
            f"once; 3 of 9 weren't asked: {again} goes on"
        )
        if form == "json":
            assert len(json.loads(ended.out)) == 6
        if resumable:
            assert len(_rows(tmp_path / f"x.{form}")) == 6
            servicer.answers = 99
            assert predict(address, *images, *args).code == 0
            rows = _rows(tmp_path / f"x.{form}")
            assert sorted(row["file"] for row in rows) == sorted(map(str, images))
            assert not any(row.get("error") for row in rows)
