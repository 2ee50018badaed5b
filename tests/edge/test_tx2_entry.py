"""tx2-entry.sh as the first process of a PID namespace, as in a container: real processes.

What `docker exec` starts is started by nsenter here: in the namespace, and no child of ours there.
"""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

ENTRY = Path(__file__).parents[2] / "edge" / "tx2-entry.sh"
NEW = ["unshare", "--user", "--map-root-user"] * (os.getuid() != 0) or ["unshare"]
NEW = [*NEW, "--pid", "--fork", "--mount-proc", "--kill-child"]


def namespaces() -> bool:
    try:
        return subprocess.run([*NEW, "true"], capture_output=True).returncode == 0
    except OSError:
        return False


pytestmark = pytest.mark.skipif(not namespaces(), reason="no PID namespaces may be made here")


class Container:
    """The entry script as process 1, which writes to a log."""

    def __init__(self, folder: Path, *work: str, **environment: str):
        self.log = folder / "log"
        with self.log.open("a") as log:
            self.outer = subprocess.Popen(
                [*NEW, "bash", str(ENTRY), *work],
                stdout=log,
                stderr=subprocess.STDOUT,
                env={**os.environ, "CXRFLOW_PAUSE": "0", **environment},
                cwd=folder,
            )
        self.first = 0  # process 1, as seen from outside

    def exec(self, *command: str) -> subprocess.Popen[bytes]:
        """As `docker exec`."""
        children = Path(f"/proc/{self.outer.pid}/task/{self.outer.pid}/children")
        wait_for(lambda: children.read_text().split())
        self.first = int(children.read_text().split()[0])
        enter = ["nsenter", f"--target={self.first}", "--pid", "--mount"]
        enter += ["--user", "--preserve-credentials"] * (os.getuid() != 0)
        with self.log.open("a") as log:
            return subprocess.Popen([*enter, *command], stdout=log, stderr=subprocess.STDOUT)

    def says(self, text: str) -> None:
        """Waits until the log has it."""
        wait_for(lambda: text in self.log.read_text())

    def listens(self) -> bool:
        """Whether process 1 has its trap: until then the kernel drops a signal to it."""
        status = Path(f"/proc/{self.first}/status").read_text()
        caught = int(re.findall(r"^SigCgt:\s*(\w+)", status, re.MULTILINE)[0], 16)
        return bool(caught >> (signal.SIGTERM - 1) & 1)

    def stop(self) -> int:
        """As `docker stop`: SIGTERM to process 1 alone, SIGKILL when its time is up."""
        if not self.first:
            self.exec("true").wait()
        wait_for(self.listens)
        os.kill(self.first, signal.SIGTERM)
        try:
            return self.outer.wait(30)
        finally:
            self.outer.kill()


def wait_for(condition: Callable[[], object]) -> None:
    for _ in range(3000):
        if condition():
            return
        time.sleep(0.02)
    raise AssertionError("it didn't happen within a minute")


@pytest.fixture
def container(tmp_path):
    running = []

    def start(*work: str, **environment: str) -> Container:
        running.append(Container(tmp_path, *work, **environment))
        return running[-1]

    yield start
    for one in running:
        one.outer.kill()
        one.outer.wait()


CLEAN = """
import os, signal, sys, time
signal.signal(signal.SIGTERM, signal.default_int_handler)
try:
    print(sys.argv[1], "runs", flush=True)
    time.sleep(60)
except KeyboardInterrupt:
    time.sleep(0.5)
    os.write(1, (sys.argv[1] + " has put its things away\\n").encode())  # in one piece
"""


def test_stop_reaches_all_and_waits_for_them(container):
    box = container(sys.executable, "-c", CLEAN, "work")
    box.says("work runs")
    executed = box.exec(sys.executable, "-c", CLEAN, "exec")
    box.says("exec runs")
    nested = box.exec("sh", "-c", f"'{sys.executable}' -c '{CLEAN}' nested; echo shell ends")
    box.says("nested runs")
    assert box.stop() == 0
    for name in ("work", "exec", "nested"):
        assert f"{name} has put its things away" in box.log.read_text()
    executed.wait(60)
    nested.wait(60)


def test_what_doesn_t_end_is_left_to_docker(container):
    box = container(
        "sh", "-c", "trap '' TERM; echo deaf; while :; do sleep 1; done", CXRFLOW_GRACE="1"
    )
    box.says("deaf")
    assert box.stop() == 0


def test_without_work_it_waits(container):
    box = container()
    assert box.exec("sh", "-c", "echo executed").wait() == 0
    box.says("executed")
    assert box.outer.poll() is None
    assert box.stop() == 0


@pytest.mark.parametrize("code", [0, 1, 130])
def test_finished_work_isn_t_started_again(container, code):
    box = container("sh", "-c", f"echo started; exit {code}")
    box.says(f"ended with exit code {code}; the container waits for docker exec")
    assert box.outer.poll() is None
    assert box.stop() == 0
    assert box.log.read_text().count("started") == 1


def test_failing_work_is_tried_again_and_not_for_ever(container):
    box = container("sh", "-c", "echo started; kill -9 $$", CXRFLOW_TRIES="3")
    box.says("waits for docker exec")
    assert box.log.read_text().count("started") == 3
    assert "exit code 137 in try 3 of 3; docker restart tries again" in box.log.read_text()
    assert box.stop() == 0


def test_work_that_succeeds_later(container):
    box = container("sh", "-c", "echo started; test -e there || { touch there; exit 2; }")
    box.says("ended with exit code 0")
    assert box.log.read_text().count("started") == 2
    assert box.stop() == 0


def test_it_is_a_first_process_only():
    done = subprocess.run(["bash", str(ENTRY), "true"], capture_output=True, text=True)
    assert done.returncode == 2  # on a host it would signal everything
    assert "first process only" in done.stderr


@pytest.mark.tf
def test_scoring_survives_a_power_cut_and_docker_stop(container, bundle, folder, tmp_path):
    """Whenever they come; the third start ends what the two before it began."""
    for png in list(folder.iterdir()):
        for copy in range(20):
            shutil.copy(png, folder / f"{copy}-{png.name}")
    work = [sys.executable, str(bundle / "infer.py"), str(folder), "--out", str(tmp_path / "out")]
    journal = tmp_path / "out" / "results.jsonl"
    box = container(*work)
    wait_for(lambda: journal.exists())
    box.outer.kill()  # and with it, at once, all in the namespace
    box.outer.wait()
    box = container(*work)
    wait_for(lambda: box.log.read_text().count("bundle 17954") == 2)
    assert box.stop() == 0
    box = container(*work)
    box.says("ended with exit code 0")
    files = [json.loads(line)["file"] for line in journal.read_text().splitlines()]
    assert sorted(files) == sorted(str(path) for path in folder.iterdir())


@pytest.mark.tf
def test_stop_ends_an_infer_py_of_docker_exec(container, bundle, folder, tmp_path):
    for png in list(folder.iterdir()):
        for copy in range(100):
            shutil.copy(png, folder / f"{copy}-{png.name}")
    box = container()
    call = [str(bundle / "infer.py"), str(folder), "--out", str(tmp_path / "out")]
    executed = box.exec(sys.executable, *call)
    journal = tmp_path / "out" / "results.jsonl"
    wait_for(journal.exists)
    assert box.stop() == 0
    assert executed.wait(60) == 130
    rows = journal.read_text()
    assert rows == "" or rows.endswith("\n")
    assert "stopped" in box.log.read_text()
