import json
import os
import random
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import pytest

from cxrflow.components.publish import push as push_module
from cxrflow.components.publish.models import promote
from cxrflow.components.publish.push import published, push
from cxrflow.components.publish.settings import PublishConfig
from cxrflow.schema.errors import CxrflowError
from cxrflow.schema.store.manifest import MANIFEST, verify
from cxrflow.schema.store.versions import Labels, hold, list_versions, read_labels, write_labels

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
    return sorted(p.name for p in base.iterdir() if not p.name.isdecimal() and p.name != ".lock")


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


def test_versions_increase_even_when_the_clock_goes_back(tmp_path, monkeypatch):
    base = tmp_path / "base"
    numbers = []
    for i, now in enumerate((1000.9, 1000.9, 500.0, 2000.0)):
        monkeypatch.setattr(push_module.time, "time", lambda now=now: now)
        numbers.append(int(push(make_model(tmp_path / f"m{i}", b"%d" % i), base).name))
    assert numbers == [1000, 1001, 1002, 2000]
    assert list_versions(base) == numbers


def test_the_newest_version_is_not_pushed_twice(tmp_path):
    base = tmp_path / "base"
    one, two = make_model(tmp_path / "one", b"1"), make_model(tmp_path / "two", b"2")
    first = push(one, base)
    assert push(one, base) == first
    second = push(two, base)
    third = push(one, base)  # going back to an older model is a push
    assert int(first.name) < int(second.name) < int(third.name)
    assert list_versions(base) == [int(v.name) for v in (first, second, third)]
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

    monkeypatch.setattr(push_module, "write_manifest", full)
    with pytest.raises(CxrflowError, match=r"can't be pushed to .*base: No space left on device"):
        push(model, base)
    assert list_versions(base) == [int(first.name)]
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


def test_the_push_moves_stable_unless_it_is_pinned(tmp_path):
    base = tmp_path / "base"
    pushed = []

    def push_next(**config):
        i = len(pushed)
        version = push(make_model(tmp_path / f"m{i}", b"%d" % i), base, PublishConfig(**config))
        pushed.append(int(version.name))

    push_next()
    push_next()
    assert not (base / "labels.json").exists()  # the newest is stable anyway
    push_next(label="canary")
    one, two, three = pushed
    assert read_labels(base) == Labels({"stable": two, "canary": three})
    push_next()
    four = pushed[3]
    assert read_labels(base) == Labels({"stable": four, "canary": three}, previous=two)
    write_labels(base, Labels({"stable": one}, pinned=one))
    push_next()
    assert read_labels(base) == Labels({"stable": one}, pinned=one)


def test_the_first_canary_is_stable_too(tmp_path):
    version = push(make_model(tmp_path / "m"), tmp_path / "base", PublishConfig(label="canary"))
    number = int(version.name)
    assert read_labels(tmp_path / "base") == Labels({"canary": number, "stable": number})


def make_versions(base: Path, numbers: list[int], monkeypatch) -> None:
    for number in numbers:
        monkeypatch.setattr(push_module.time, "time", lambda now=number: now)
        push(make_model(base.parent / f"model{number}", b"%d" % number), base)


@pytest.mark.parametrize(
    ("labels", "keep", "left"),
    [
        (Labels(), 1, [5, 6]),  # 5: what a rollback goes to
        (Labels(), 3, [4, 5, 6]),
        (Labels(), 9, [1, 2, 3, 4, 5, 6]),
        (Labels({"stable": 4}, pinned=4), 1, [3, 4, 6]),
        (Labels({"stable": 4}, previous=2), 1, [4, 6]),  # the push moved stable from 4
        (Labels({"canary": 1}), 2, [1, 5, 6]),
    ],
)
def test_prunes_all_but_the_newest_and_what_is_named(tmp_path, monkeypatch, labels, keep, left):
    base = tmp_path / "base"
    make_versions(base, [1, 2, 3, 4, 5], monkeypatch)
    write_labels(base, labels)
    monkeypatch.setattr(push_module.time, "time", lambda: 6)
    push(make_model(tmp_path / "last", b"6"), base, PublishConfig(keep_versions=keep))
    assert list_versions(base) == left
    assert hidden(base) == ["labels.json"]


def test_never_prunes_what_a_server_has_loaded(tmp_path, monkeypatch):
    base = tmp_path / "base"
    make_versions(base, [1, 2, 3], monkeypatch)
    handle = hold(base / "1")
    monkeypatch.setattr(push_module.time, "time", lambda: 4)
    push(make_model(tmp_path / "four", b"4"), base, PublishConfig(keep_versions=1))
    assert list_versions(base) == [1, 3, 4]
    os.close(handle)
    monkeypatch.setattr(push_module.time, "time", lambda: 5)
    push(make_model(tmp_path / "five", b"5"), base, PublishConfig(keep_versions=1))
    assert list_versions(base) == [4, 5]


def test_never_prunes_the_newest_whole_version(tmp_path, monkeypatch):
    base = tmp_path / "base"
    make_versions(base, [1, 2, 3, 4], monkeypatch)
    for damaged in (2, 3, 4):
        (base / str(damaged) / "empty").unlink()
    push_module._prune(base, keep=2)
    assert list_versions(base) == [1, 3, 4]  # 1 is what a server falls back to


def test_a_damaged_labels_file_stops_the_push(tmp_path):
    base = tmp_path / "base"
    base.mkdir()
    (base / "labels.json").write_text("{")
    with pytest.raises(CxrflowError, match=r"labels.json can't be used"):
        push(make_model(tmp_path / "model"), base)
    assert list_versions(base) == []


# A process a push: forked, since starting Python takes longer than pushing.
PUSHER = """
import os, pathlib, sys
from cxrflow.components.publish.push import push
from cxrflow.components.publish.settings import PublishConfig

for line in sys.stdin:
    pid = os.fork()
    if not pid:
        push(*map(pathlib.Path, line.split()), PublishConfig(keep_versions=2, label="canary"))
        os._exit(0)
    print(pid, flush=True)
    sys.stdin.readline()  # until then the process id is the push's, even once that has ended
    print(os.waitpid(pid, 0)[1], flush=True)
"""


class Pushers:
    """Pushes in processes of their own."""

    def __init__(self):
        self._parent = subprocess.Popen(
            [sys.executable, "-c", PUSHER],
            cwd=REPO,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            bufsize=1,
        )

    def start(self, model: Path, base: Path) -> int:
        """Starts a push and returns its process id."""
        self._parent.stdin.write(f"{model} {base}\n")
        return int(self._parent.stdout.readline())

    def wait(self) -> int:
        """Waits for the push's end and returns its status, 0 if it came through."""
        self._parent.stdin.write("\n")
        return int(self._parent.stdout.readline())

    def close(self) -> None:
        self._parent.stdin.close()
        self._parent.wait()
        self._parent.stdout.close()


@pytest.fixture
def pushers():
    started = Pushers()
    yield started
    started.close()


@pytest.mark.slow
def test_kill_at_any_moment_leaves_whole_versions_only(tmp_path, pushers):
    """50 pushes, killed at random moments: while they copy, rename, label, write, prune."""
    base = tmp_path / "serving" / "cxrflow"
    model = make_model(tmp_path / "model", b"-1", megabytes=3)
    rng = random.Random(0)
    push(model, base)
    (base.parent / "models.config").touch()  # TF Serving follows this root
    durations, killed_midway, finished = [], 0, 0
    for i in range(-3, 50):
        (model / "saved_model.pb").write_bytes(b"%d" % i)
        started = time.monotonic()
        process = pushers.start(model, base)
        if i < 0:  # shows how long a push takes
            assert pushers.wait() == 0
            durations.append(time.monotonic() - started)
        else:
            if i % 2:  # every other one once it copies, however slow the machine is
                while not any(base.glob(".push-*")) and time.monotonic() < started + 3:
                    time.sleep(0.001)
                if i % 4 == 1:  # a part of these at once: copying may be a small part of a push
                    time.sleep(rng.uniform(0, 0.5 * min(durations)))
            else:
                time.sleep(rng.uniform(0, 1.2 * min(durations)))
            os.kill(process, signal.SIGKILL)
            finished += pushers.wait() == 0
        killed_midway += any(name.startswith((".push", ".remove")) for name in hidden(base))

        there = list_versions(base)
        # Nothing else is what TF Serving, or int(), would read as a number.
        assert (
            sorted(
                int(p.name)
                for p in base.iterdir()
                if p.name[-1:].isdigit() and not p.name.startswith(".")
            )
            == there
        )
        for version in there:
            assert verify(base / str(version)) == []
        assert set(read_labels(base).all(there)) == {"stable", "canary"}
    assert killed_midway >= 5 and finished < 40  # else the test shows nothing
    last = push(model, base)
    assert verify(last) == []
    assert hidden(base) == ["labels.json"]


def test_push_and_promote_at_the_same_time(tmp_path, pushers):
    base = tmp_path / "serving" / "cxrflow"
    first = int(push(make_model(tmp_path / "model", b"first"), base).name)
    (base.parent / "models.config").touch()
    promoted = 0

    def push_some() -> None:
        pushes = 0
        while pushes < 3 or promoted <= 3:  # however slow the disk is
            model = make_model(tmp_path / f"model{pushes}", b"%d" % pushes, megabytes=1)
            pushers.start(model, base)
            assert pushers.wait() == 0
            pushes += 1

    with ThreadPoolExecutor(1) as thread:
        pushing = thread.submit(push_some)
        try:
            while not pushing.done():
                promote(base, first, label="blue", new_label=True)
                with suppress(CxrflowError):  # pruned since it was listed
                    promote(base, list_versions(base)[-1], label="green", new_label=True)
                    promoted += 1
        finally:
            promoted = 4  # pushing ends
            pushing.result()
    there = list_versions(base)
    given = read_labels(base).all(there)
    assert given["stable"] == given["blue"] == first
    assert given["canary"] == there[-1]  # no push's label was lost
    assert given["green"] in there
    assert [verify(base / str(version)) for version in there] == [[] for _ in there]
    assert f"versions: {there[-1]}\n" in (base.parent / "models.config").read_text()
