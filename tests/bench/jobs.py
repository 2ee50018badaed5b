"""`--jobs 2` that is stopped: Ctrl-C, SIGTERM, and `kill -9` of the command itself.

The nodes are plain ones; the processes are those of a command: a fork server, and a child a node.
"""

import multiprocessing
import os
import signal
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.bench.figure import figure

_GONE_S = 60.0  # what a node may take to end; the fork server, which does nothing, may take longer
_TOGETHER = 9  # nodes that wait for each other, more than there are: they don't end by themselves


def main() -> Iterator[dict[str, Any]]:
    """Yields how many of the stopped runs left a process, or didn't go on."""
    from tests.support import kills
    from tests.support import tiny_pipeline as tiny

    context = multiprocessing.get_context("fork")  # none of TFX's threads runs in this process
    faults: list[str] = []
    codes: dict[str, int | None] = {}
    with tempfile.TemporaryDirectory(prefix="jobs-") as name:
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGKILL):
            root = Path(name, number.name)
            root.mkdir()
            (root / "trace").touch()
            (root / "meet").write_text(str(_TOGETHER))
            process = context.Process(target=_run, args=(root, 2))
            process.start()
            while (root / "trace").read_text().count("begin Part") < 2 and process.is_alive():
                time.sleep(0.05)
            # A terminal sends Ctrl-C to all; the others come to one process.
            send = os.killpg if number == signal.SIGINT else os.kill
            send(process.pid or 0, number)
            process.join()
            codes[number.name] = process.exitcode
            faults += [f"{number.name}: {node} outlives the run" for node in _alive(root / "trace")]
            (root / "meet").unlink()
            again = context.Process(target=_run, args=(root, 1))
            again.start()
            again.join()
            begun = (root / "trace").read_text().count("begin Source")
            if again.exitcode or begun != 1 or kills.texts(root).keys() != set(tiny.NODES):
                faults.append(f"{number.name}: the next start: {again.exitcode}, {begun} Sources")
            faults += [f"{number.name}: {one}" for one in kills.leftovers(root)]
    yield figure("jobs.faults", len(faults), "0", not faults, exit_codes=codes, faults=faults)


def _alive(trace: Path) -> list[str]:
    """The nodes whose process still runs a while after it should have ended."""
    words = [line.split() for line in trace.read_text().splitlines()]
    nodes = {name: Path("/proc", process) for event, name, process, *_ in words if event == "begin"}
    deadline = time.monotonic() + _GONE_S
    while (left := [n for n, one in nodes.items() if one.exists()]) and time.monotonic() < deadline:
        time.sleep(0.1)
    return left


def _run(root: Path, jobs: int) -> None:  # pragma: no cover (another process)
    from tests.support import tiny_pipeline as tiny

    os.setsid()
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's `&` has it ignored
    tiny.run(root, jobs=jobs)
