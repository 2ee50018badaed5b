import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from components.publish import push as push_module
from components.publish.push import MANIFEST, published, push, verify, versions
from schema.errors import CxrflowError

REPO = Path(__file__).resolve().parents[3]


def make_model(folder: Path, content: bytes = b"graph", megabytes: int = 0) -> Path:
    (folder / "variables").mkdir(parents=True)
    (folder / "assets.extra").mkdir()
    (folder / "saved_model.pb").write_bytes(content)
    (folder / "assets.extra" / "model.json").write_text("{}")
    (folder / "empty").touch()
    for i in range(max(megabytes, 1)):
        (folder / "variables" / f"data-{i:02}").write_bytes(os.urandom((megabytes > 0) * 2**20))
    return folder


def hidden(base: Path) -> list[str]:
    return [p.name for p in base.iterdir() if not p.name.isdecimal() and p.name != ".lock"]


def test_pushes_a_whole_copy_with_a_manifest(tmp_path):
    model = make_model(tmp_path / "model", b"graph")
    before = int(time.time())
    version = push(model, tmp_path / "serving" / "cxrflow")

    assert before <= int(version.name) <= int(time.time())
    assert (version / "saved_model.pb").read_bytes() == b"graph"
    manifest = json.loads((version / MANIFEST).read_text())
    assert manifest["version"] == int(version.name)
    assert {f["path"]: f["size"] for f in manifest["files"]} == {
        "assets.extra/model.json": 2,
        "empty": 0,
        "saved_model.pb": 5,
        "variables/data-00": 0,
    }
    by_path = {f["path"]: f["sha256"] for f in manifest["files"]}
    assert by_path["saved_model.pb"] == (  # printf graph | sha256sum
        "eef93e1d14482804277fca0172464032d1a4fdbcc338524059fa1e861454ad4d"
    )
    assert verify(version) == []
    assert hidden(tmp_path / "serving" / "cxrflow") == []


@pytest.mark.parametrize(
    ("damage", "problem"),
    [
        (lambda v: (v / "saved_model.pb").write_bytes(b"grapf"), "saved_model.pb was changed"),
        (lambda v: (v / "empty").write_bytes(b"x"), "empty was changed"),
        (lambda v: (v / "empty").unlink(), "empty is missing"),
        (lambda v: (v / "more").touch(), "more isn't in manifest.json"),
        (lambda v: (v / MANIFEST).unlink(), "manifest.json can't be read"),
        (lambda v: (v / MANIFEST).write_text("{"), "manifest.json can't be read"),
        (lambda v: (v / MANIFEST).write_text("[]"), "manifest.json can't be read"),
    ],
)
def test_verify_finds_damage(tmp_path, damage, problem):
    version = push(make_model(tmp_path / "model"), tmp_path / "base")
    damage(version)
    (found,) = verify(version)
    assert found.startswith(problem)


def test_versions_increase_even_when_the_clock_goes_back(tmp_path, monkeypatch):
    base = tmp_path / "base"
    numbers = []
    for i, now in enumerate((1000.9, 1000.9, 500.0, 2000.0)):
        monkeypatch.setattr(push_module.time, "time", lambda now=now: now)
        numbers.append(int(push(make_model(tmp_path / f"m{i}", b"%d" % i), base).name))
    assert numbers == [1000, 1001, 1002, 2000]
    assert versions(base) == numbers


def test_the_newest_version_is_not_pushed_twice(tmp_path):
    base = tmp_path / "base"
    one, two = make_model(tmp_path / "one", b"1"), make_model(tmp_path / "two", b"2")
    first = push(one, base)
    assert push(one, base) == first
    second = push(two, base)
    third = push(one, base)  # going back to an older model is a push
    assert int(first.name) < int(second.name) < int(third.name)
    assert versions(base) == [int(v.name) for v in (first, second, third)]
    # A damaged version doesn't count as published.
    (third / "saved_model.pb").write_bytes(b"x")
    assert push(one, base) != third


def test_published_tells_what_a_push_depends_on(tmp_path):
    base = tmp_path / "base"
    assert published(base) == ""
    version = push(make_model(tmp_path / "model"), base)
    assert published(base) == f"{version.name} whole"
    (version / "empty").unlink()
    assert published(base) == f"{version.name} damaged"


def test_removes_what_a_dead_push_left_and_leaves_the_rest(tmp_path):
    base = tmp_path / "base"
    (base / ".push-123" / "variables").mkdir(parents=True)
    (base / "notes").mkdir()
    push(make_model(tmp_path / "model"), base)
    assert hidden(base) == ["notes"]


def test_a_failing_copy_leaves_nothing_behind(tmp_path, monkeypatch):
    base = tmp_path / "base"
    model = make_model(tmp_path / "model")
    first = push(model, base)
    (model / "saved_model.pb").write_bytes(b"other")

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(push_module, "_write_manifest", full)
    with pytest.raises(CxrflowError, match=r"can't be pushed to .*base: No space left on device"):
        push(model, base)
    assert versions(base) == [int(first.name)]
    assert hidden(base) == []


def test_refuses_what_is_no_saved_model(tmp_path):
    (tmp_path / "model").mkdir()
    with pytest.raises(CxrflowError, match="no SavedModel in"):
        push(tmp_path / "model", tmp_path / "base")
    assert not (tmp_path / "base").exists()


def test_says_why_a_folder_cannot_be_written(tmp_path):
    (tmp_path / "base").write_text("a file")
    with pytest.raises(CxrflowError, match="can't be pushed"):
        push(make_model(tmp_path / "model"), tmp_path / "base")


def test_kill_at_any_moment_leaves_whole_versions_only(tmp_path):
    base = tmp_path / "base"
    pusher = (
        "import sys, pathlib; from components.publish.push import push;"
        "print('go', flush=True); push(*map(pathlib.Path, sys.argv[1:]))"
    )
    rng = random.Random(0)
    seconds, killed_midway = 0.05, 0
    for i in range(10):
        model = make_model(tmp_path / f"model{i}", b"%d" % i, megabytes=8)
        process = subprocess.Popen(
            [sys.executable, "-c", pusher, str(model), str(base)],
            cwd=REPO,
            stdout=subprocess.PIPE,
        )
        process.stdout.readline()
        started = time.monotonic()
        if i == 0:  # the first one shows how long a push takes
            assert process.wait() == 0
            seconds = time.monotonic() - started
        else:
            time.sleep(rng.uniform(0, seconds))
            process.send_signal(signal.SIGKILL)
            process.wait()
        process.stdout.close()
        killed_midway += bool(hidden(base))
        assert versions(base)
        for version in versions(base):
            assert verify(base / str(version)) == []
    assert killed_midway  # else the test shows nothing
    last = push(model, base)
    assert verify(last) == []
    assert hidden(base) == []
