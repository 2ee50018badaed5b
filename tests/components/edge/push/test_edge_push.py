"""The push of an edge bundle: what it shares with serving's, and what it leaves alone."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from cxrflow.components.publish import push as push_module
from cxrflow.components.publish.push import published, push_bundle
from cxrflow.schema.errors import CxrflowError
from cxrflow.schema.store.manifest import MANIFEST, read_manifest, verify
from cxrflow.schema.store.versions import list_versions

REPO = Path(__file__).resolve().parents[4]


def make_bundle(folder: Path, content: bytes = b"model", megabytes: int = 0) -> Path:
    (folder / "golden").mkdir(parents=True)
    (folder / "model.json").write_text("{}")
    (folder / "model_fp32.tflite").write_bytes(content)
    (folder / "golden" / "0.png").write_bytes(os.urandom(megabytes * 2**20))
    (folder / "tx2-up.sh").write_text("#!/bin/sh\n")
    (folder / "tx2-up.sh").chmod(0o700)
    return folder


def hidden(base: Path) -> list[str]:
    return sorted(p.name for p in base.iterdir() if not p.name.isdecimal() and p.name != ".lock")


def test_pushes_a_whole_copy_with_a_manifest(tmp_path):
    bundle, base = make_bundle(tmp_path / "bundle"), tmp_path / "edge"
    (tmp_path / "models.config").write_text("of serving, elsewhere")
    before = int(time.time())
    version = push_bundle(bundle, base, 5, notes={"synthetic": True})

    assert version.parent == base and before <= int(version.name) <= int(time.time())
    assert verify(version) == []
    manifest = read_manifest(version)
    assert [file.path for file in manifest.files] == [
        "golden/0.png",
        "model.json",
        "model_fp32.tflite",
        "tx2-up.sh",
    ]
    assert manifest.notes == {"synthetic": True}
    assert json.loads((version / MANIFEST).read_text())["version"] == int(version.name)
    assert os.access(version / "tx2-up.sh", os.X_OK)
    assert not os.access(version / "model.json", os.X_OK)
    # Labels and the server's configuration are serving's alone.
    assert hidden(base) == []
    assert (tmp_path / "models.config").read_text() == "of serving, elsewhere"


def test_the_newest_bundle_is_not_pushed_twice(tmp_path):
    base = tmp_path / "edge"
    one, two = make_bundle(tmp_path / "one", b"1"), make_bundle(tmp_path / "two", b"2")
    first = push_bundle(one, base, 5)
    assert push_bundle(one, base, 5) == first
    second, third = push_bundle(two, base, 5), push_bundle(one, base, 5)
    assert list_versions(base) == [int(v.name) for v in (first, second, third)]
    assert published(base) == f"{third.name} whole"
    (third / "model.json").write_text("{ }")
    assert published(base) == f"{third.name} damaged"
    assert push_bundle(one, base, 5) != third


@pytest.mark.parametrize(("keep", "left"), [(1, [4, 5]), (3, [3, 4, 5]), (9, [1, 2, 3, 4, 5])])
def test_old_versions_and_dead_pushes_go(tmp_path, monkeypatch, keep, left):
    base = tmp_path / "edge"
    for number in range(1, 6):
        monkeypatch.setattr(push_module.time, "time", lambda now=number: now)
        (base / ".push-9").mkdir(parents=True)
        bundle = make_bundle(tmp_path / str(number), b"%d" % number)
        push_bundle(bundle, base, keep if number == 5 else 9)
    assert list_versions(base) == left
    assert hidden(base) == []


def test_refuses_what_is_no_bundle(tmp_path):
    with pytest.raises(CxrflowError, match=r"no edge bundle in .*: nothing to push"):
        push_bundle(tmp_path, tmp_path / "edge", 5)
    assert not (tmp_path / "edge").exists()


def test_says_why_a_folder_cannot_be_written(tmp_path):
    (tmp_path / "edge").write_text("a file")
    with pytest.raises(CxrflowError, match=r"The edge bundle can't be pushed to .*edge: "):
        push_bundle(make_bundle(tmp_path / "bundle"), tmp_path / "edge", 5)


# A process a push: forked, since starting Python takes longer than pushing.
PUSHER = """
import os, pathlib, sys
from cxrflow.components.publish.push import push_bundle

for line in sys.stdin:
    pid = os.fork()
    if not pid:
        push_bundle(*map(pathlib.Path, line.split()), keep_versions=2)
        os._exit(0)
    print(pid, flush=True)
    sys.stdin.readline()
    print(os.waitpid(pid, 0)[1], flush=True)
"""


def test_kill_at_any_moment_leaves_whole_bundles_only(tmp_path):
    """10 pushes killed while they copy; serving's test kills 50 at every moment."""
    base, bundle = tmp_path / "edge", make_bundle(tmp_path / "bundle", megabytes=3)
    rng = random.Random(0)
    started = time.monotonic()
    push_bundle(bundle, base, 2)
    took = time.monotonic() - started
    midway = 0
    with subprocess.Popen(
        [sys.executable, "-c", PUSHER],
        cwd=REPO,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        bufsize=1,
    ) as pusher:
        for i in range(10):
            (bundle / "model_fp32.tflite").write_bytes(b"%d" % i)
            pusher.stdin.write(f"{bundle} {base}\n")
            process, started = int(pusher.stdout.readline()), time.monotonic()
            while not any(base.glob(".push-*")) and time.monotonic() < started + 3:
                time.sleep(0.001)
            if i % 2:  # the others at once: copying may be a small part of a push
                time.sleep(rng.uniform(0, 0.5 * took))
            os.kill(process, signal.SIGKILL)
            pusher.stdin.write("\n")
            pusher.stdout.readline()
            midway += any(name.startswith((".push", ".remove")) for name in hidden(base))
            assert list_versions(base)
            for version in list_versions(base):
                assert verify(base / str(version)) == []
    assert midway >= 2  # else the test shows nothing
    assert verify(push_bundle(bundle, base, 2)) == []
    assert hidden(base) == []
