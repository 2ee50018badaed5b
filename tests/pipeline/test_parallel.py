"""Nodes in processes of their own: which run, what comes out, and what a killed one leaves."""

import os
import re
import signal
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from cxrflow.pipeline import memory, parallel
from cxrflow.pipeline.parallel import ready
from cxrflow.schema.errors import CxrflowError
from tests.support.processes import wait_until_ended

DIAMOND = {"a": [], "b": ["a"], "c": ["a"], "d": ["b", "c"]}


@pytest.mark.parametrize(
    ("done", "running", "expected"),
    [
        ("", "", ["a"]),
        ("", "a", []),
        ("a", "", ["b", "c"]),
        ("a", "c", ["b"]),
        ("ab", "c", []),
        ("abc", "", ["d"]),
        ("abcd", "", []),
    ],
)
def test_a_node_is_ready_when_all_before_it_are_done(
    done: str, running: str, expected: list[str]
) -> None:
    assert ready(DIAMOND, set(done), dict.fromkeys(running)) == expected


@pytest.mark.parametrize(
    ("meminfo", "limit", "current", "expected"),
    [
        ("MemTotal: 9 kB\nMemAvailable:  4 kB\n", None, None, 4096),
        ("MemAvailable:  4 kB\n", "max", "1", 4096),
        ("MemAvailable:  4 kB\n", "3000", "1000", 2000),
        ("MemAvailable:  1 kB\n", "3000", "1000", 1024),
        ("MemAvailable:  none kB\n", "3000", "1000", 2000),
        ("", None, None, None),
        (None, None, None, None),
    ],
)
def test_memory_is_what_machine_and_container_leave(
    meminfo: str | None, limit: str | None, current: str | None, expected: int | None,
    tmp_path: Path,
) -> None:  # fmt: skip
    texts = {"meminfo": meminfo, "memory.max": limit, "memory.current": current}
    for name, text in texts.items():
        if text is not None:
            (tmp_path / name).write_text(text)
    assert memory.available(tmp_path / "meminfo", tmp_path) == expected


@pytest.mark.parametrize(
    ("folder", "limit", "usage", "name"),
    [
        (".", "memory.max", "memory.current", "inactive_file"),
        ("memory", "memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
    ],
    ids=["version 2", "version 1"],
)
@pytest.mark.parametrize(
    ("cache", "expected"),
    [("{} 12000000000\nanon 2\n", 12_500_000_000), ("anon 2\n", 500_000_000), (None, 500_000_000)],
)
def test_a_containers_file_cache_is_free(
    folder: str, limit: str, usage: str, name: str, cache: str | None, expected: int,
    tmp_path: Path,
) -> None:  # fmt: skip
    texts = {limit: "16000000000\n", usage: "15500000000\n"}
    if cache:
        texts["memory.stat"] = f"total_x_{name} 7\n" + cache.format(name)
    (tmp_path / folder).mkdir(exist_ok=True)
    for file, text in texts.items():
        (tmp_path / folder / file).write_text(text)
    assert memory.available(tmp_path / "no meminfo", tmp_path) == expected


COMMAND = """
import multiprocessing, os, signal, sys, time
from cxrflow.pipeline import parallel

def node(file):
    parallel.end_with_command()
    with open(file, "w") as said:
        said.write(str(os.getpid()))
    time.sleep(600)

if __name__ == "__main__":
    context = multiprocessing.get_context("forkserver")
    for file in sys.argv[1:]:
        context.Process(target=node, args=(file,)).start()
    while not all(os.path.exists(file) and os.path.getsize(file) for file in sys.argv[1:]):
        time.sleep(0.02)
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_nodes_end_with_a_killed_command(tmp_path: Path) -> None:
    """Each keeps the fork server alive, which is their parent."""
    script, files = tmp_path / "command.py", [tmp_path / name for name in "ab"]
    script.write_text(COMMAND)
    killed = subprocess.run([sys.executable, str(script), *map(str, files)])
    assert killed.returncode == -signal.SIGKILL
    wait_until_ended(int(file.read_text()) for file in files)


def most_at_once(root: Path) -> int:
    """The most nodes that ran at once."""
    words = [line.split()[0] for line in (root / "trace").read_text().splitlines()]
    return max(words[:i].count("begin") - words[:i].count("end") for i in range(len(words) + 1))


def texts(outputs) -> dict[str, str]:
    """What each node wrote."""
    return {n: Path(folders["text"], "text").read_text() for n, folders in outputs.items()}


@pytest.mark.tf
@pytest.mark.slow
class TestProcesses:
    """Processes of the tiny pipeline; all share one process that has loaded TFX."""

    @pytest.fixture(autouse=True)
    def _roomy(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """What else runs on the machine may leave too little memory for a second node."""
        monkeypatch.setattr(parallel, "_is_roomy", lambda: True)

    def test_parts_run_at_once_and_give_what_one_after_another_gives(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        from tests.support import tiny_pipeline as tiny

        one, many = tmp_path / "one", tmp_path / "many"
        found = {}
        for root, jobs in ((one, 1), (many, 2)):
            root.mkdir()
            (root / "meet").write_text(str(jobs))
            outputs = tiny.run(root, jobs=jobs)
            assert (outputs.executed, outputs.cached) == (tiny.NODES, [])
            monkeypatch.chdir(root)
            found[root] = texts(outputs.artifacts)
            assert most_at_once(root) == jobs
        assert found[one] == found[many] and len(found[one]) == 5
        pids = {line.split()[2] for line in (many / "trace").read_text().splitlines()}
        assert len(pids) == 5 and str(os.getpid()) not in pids
        again = tiny.run(many, jobs=3)
        assert (again.executed, again.cached) == ([], tiny.NODES)

    def test_nodes_at_the_same_time_see_another_gpu_each(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A node sees of the machine's GPUs what CUDA_VISIBLE_DEVICES names."""
        from tests.support import tiny_pipeline as tiny

        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "GPU-a,GPU-b,GPU-c")
        (tmp_path / "meet").write_text("3")
        tiny.run(tmp_path, jobs=3)
        begun = [line.split() for line in (tmp_path / "trace").read_text().splitlines()]
        seen = {line[1]: line[-1] for line in begun if line[0] == "begin"}
        parts = {seen[f"Part.{letter}"] for letter in "abc"}
        assert parts == {"GPU-a", "GPU-b", "GPU-c"}
        assert seen["Source"] == seen["Join"] == "GPU-a"

    def test_after_a_failure_what_runs_ends_and_nothing_begins(
        self, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        from tests.support import tiny_pipeline as tiny

        (tmp_path / "fail-Part.a").touch()
        (tmp_path / "meet").write_text("2")
        with pytest.raises(CxrflowError, match=r"^Part\.a was told to fail$"):
            tiny.run(tmp_path, jobs=2)
        traced = (tmp_path / "trace").read_text()
        assert "end Part.b" in traced and "Join" not in traced
        assert "Traceback" in (tmp_path / "logs" / "Part.a.log").read_text()
        told = capsys.readouterr().err
        assert [line.split()[2] for line in told.splitlines() if line[0] == "✗"] == ["Part.a"]
        (tmp_path / "fail-Part.a").unlink()
        found = tiny.run(tmp_path, jobs=2)
        assert {"Part.a", "Join"} <= set(found.executed) and "Part.b" in found.cached

    def test_several_at_once_write_to_one_mariadb(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        from cxrflow.pipeline.config import parse
        from tests.support import tiny_pipeline as tiny
        from tests.support.mariadb import PASSWORD, USER, mariadb

        root = tmp_path / "root"
        root.mkdir()
        monkeypatch.setenv("CXRFLOW_METADATA_PASSWORD", PASSWORD)
        with mariadb(tmp_path / "mariadb") as port:
            server = {"kind": "mysql", "host": "127.0.0.1", "port": port, "user": USER}
            config = parse({"name": "tiny", "metadata": server})
            (root / "meet").write_text("3")
            first, again = (tiny.run(root, jobs=3, config=config) for _ in range(2))
        assert (first.executed, again.cached) == (tiny.NODES, tiny.NODES)
        assert most_at_once(root) == 3

    def test_a_process_that_is_killed_is_one_line(self, tmp_path: Path) -> None:
        from tests.support import tiny_pipeline as tiny

        trace, ended = tmp_path / "trace", threading.Event()

        def kill() -> None:
            while not (trace.exists() and trace.read_text().endswith("\n")):  # a whole line
                if ended.wait(0.01):
                    return
            os.kill(int(trace.read_text().split()[2]), signal.SIGKILL)

        with ThreadPoolExecutor(1) as thread:
            killed = thread.submit(kill)
            try:
                with pytest.raises(CxrflowError) as raised:
                    tiny.run(tmp_path, seconds=60, jobs=2)
            finally:
                ended.set()
                killed.result()
        assert re.search(r"^Source was killed: did it .*Source\.log$", str(raised.value))

    def test_a_run_that_is_killed_goes_on_where_it_was(self, tmp_path: Path) -> None:
        """tests/bench/kills.py does it more often."""
        from tests.support.kills import trials

        found = [*trials(tmp_path / "roots", kills=20, seed=1)]
        assert [fault for one in found for fault in one.faults] == []
        assert sum(one.kills for one in found) >= 20
        assert len({node for one in found for node in one.killed_at}) >= 3
