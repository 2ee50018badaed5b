"""Kills `cxrflow run` in each of its nodes, and goes on with the same command.

A small run of the demo's profile with every node; the processes are forks of one that has loaded
TensorFlow and TFX, since a plain start takes as long as most nodes.
"""

import json
import multiprocessing
import os
import random
import re
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cxrflow.pipeline import parallel
from tests.support.kills import states
from tests.support.same_run import differences

_RUNNING = re.compile(r"Component (\S+) is running\.")
_FINISHED = re.compile(r"Component (\S+) is finished\.")
_SHARD = 24  # images, so that a small run has several shards
_POLL_S = 0.1  # a look at the log of all starts isn't for nothing
_GONE_S = 60.0  # what a process may take to notice that its parent was killed, and to end
# They look anew at every start at what is published.
_EVERY_TIME = {"LastBlessedModel", "Pusher", "EdgePusher"}


@dataclass
class Found:
    """What went wrong, if anything, in a run that was killed and then finished."""

    killed_at: list[str] = field(default_factory=list)  # the last node that began
    kept_shards: int = 0  # that were whole at a kill
    kept_epochs: int = 0
    seconds: list[float] = field(default_factory=list)  # of each start
    faults: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Whole:
    """An unbroken run."""

    root: Path
    seconds: dict[str, float]  # of each node, in the order in which they began


class Machine:
    """Starts commands in forks; is told of processes that outlive theirs."""

    def __init__(self, folder: Path, arguments: Sequence[str], jobs: int = 1) -> None:
        self._context = multiprocessing.get_context("forkserver")
        self._context.set_forkserver_preload([*parallel.PRELOADED, "cxrflow.pipeline.cli"])
        self._arguments = [*arguments, "--jobs", str(jobs)]
        self.temporary = folder / "tmp"
        self.temporary.mkdir(exist_ok=True)

    def start(self, root: Path) -> Any:
        """The command, in a process of its own session."""
        arguments = ["run", "--root", str(root), *self._arguments]
        out = root.with_suffix(".out")
        process = self._context.Process(target=_command, args=(arguments, out, self.temporary))
        process.start()
        return process


def _command(arguments: list[str], out: Path, temporary: Path) -> None:  # pragma: no cover
    from cxrflow.components.ingest import executor
    from cxrflow.pipeline import cli

    os.setsid()
    os.environ["TMPDIR"], tempfile.tempdir = str(temporary), None
    executor._SHARD = _SHARD
    with out.open("ab") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    sys.argv = ["cxrflow", *arguments]
    cli.main()


def unbroken(machine: Machine, root: Path) -> Whole:
    """Runs it once, and measures its nodes."""
    process = machine.start(root)
    began: dict[str, float] = {}
    seconds: dict[str, float] = {}
    while process.is_alive():
        now, text = time.monotonic(), log_of(root)
        for node in _RUNNING.findall(text):
            began.setdefault(node, now)
        for node in _FINISHED.findall(text):
            seconds.setdefault(node, now - began.get(node, now))
        time.sleep(_POLL_S)
    process.join()
    if process.exitcode:
        raise RuntimeError(root.with_suffix(".out").read_text()[-3000:])
    return Whole(root, seconds)


def killed(
    machine: Machine, root: Path, whole: Whole, nodes: Sequence[str], moments: random.Random
) -> Found:
    """A run that is killed in each of these nodes, which come in the pipeline's order.

    The kill comes at a random moment of the time that the node took in the unbroken run; where this
    machine is quicker now, it comes to a later node. Those that go on where they were are killed
    once more as soon as they have something to go on from.
    """
    found = Found()
    root.mkdir()
    data = next(whole.root.glob("phantoms-*"))
    shutil.copytree(data, root / data.name)  # with their times, which the fingerprint has
    for node, has_progress in [*_planned(nodes), (None, None)]:
        before, said = _Before.of(root), len(log_of(root))
        started = time.monotonic()
        process = machine.start(root)
        if node is not None:
            while process.is_alive() and f"Component {node} is running." not in log_of(root)[said:]:
                time.sleep(_POLL_S)
            if has_progress:
                while process.is_alive() and not has_progress(root):
                    time.sleep(_POLL_S)
            else:
                process.join(moments.uniform(0, whole.seconds[node]))
            if process.is_alive():
                process.kill()  # it may have ended meanwhile
        process.join()
        found.seconds.append(round(time.monotonic() - started, 1))
        since = log_of(root)[said:]
        found.faults += before.lost(root, since)
        if process.exitcode == -signal.SIGKILL:
            found.killed_at.append((_RUNNING.findall(since) or ["-"])[-1])
            found.faults += [f"{one} outlives the run" for one in survivors(root)]
            found.kept_shards += len(shards(root))
            found.kept_epochs += sum(epochs(root).values())
        elif process.exitcode:
            found.faults.append(root.with_suffix(".out").read_text()[-500:])
            return found
        elif node is not None:
            break  # it had come to its end before
    found.faults += differences(whole.root, root)
    found.faults += leftovers(root, machine.temporary)
    return found


def _planned(nodes: Sequence[str]) -> Iterator[tuple[str, Callable[[Path], object] | None]]:
    """Nodes, with what tells that they have something to go on from where that is waited for."""
    for node in nodes:
        yield node, None
        kind, _, name = node.partition(".")
        if kind in ("ImageExampleGen", "Transform"):
            yield node, shards
        if kind == "Trainer":
            yield node, lambda root, name=name: epochs(root).get(name)


@dataclass(frozen=True)
class _Before:
    """What was there as a command began."""

    finished: set[str]
    shards: set[int]
    epochs: dict[str, int]

    @classmethod
    def of(cls, root: Path) -> "_Before":
        done = {node for node, state in states(root) if state == "COMPLETE"}
        return cls(done, shards(root), epochs(root))

    def lost(self, root: Path, log: str) -> Iterator[str]:
        """What was done anew although it was there."""
        for node in sorted(self.finished - _EVERY_TIME):
            if states(root).count((node, "COMPLETE")) > 1:
                yield f"{node} had finished and ran again"
        kept = shards(root) | {
            path.stat().st_ino for path in root.glob("artifacts/*/*/*/Split-*/*")
        }
        if gone := self.shards - kept:
            yield f"{len(gone)} whole shards were written again"
        for trainer, number in self.epochs.items():
            if (
                f"Component Trainer.{trainer} is running." in log
                and f"epoch {number + 1}/" in log
                and f"resuming after epoch {number}" not in log
            ):
                yield f"Trainer.{trainer} didn't go on after epoch {number}"


def shards(root: Path) -> set[int]:
    """Inodes of the shards that a killed step has finished."""
    found = set()
    for note in root.glob("artifacts/*/*/unfinished/*/notes/*/*"):
        folder, name = note.parents[2], note.relative_to(note.parents[1])
        with suppress(FileNotFoundError):  # they have just been moved to where they belong
            trees = [path for path in folder.iterdir() if path.name not in ("notes", "attempts")]
            found |= {(tree / name).stat().st_ino for tree in trees}
    return found


def epochs(root: Path) -> dict[str, int]:
    """By model, the epochs that a killed Trainer has finished."""
    states = root.glob("work/*/training-*/epochs/state.json")
    return {path.parts[-4]: len(json.loads(path.read_text())) for path in states}


def log_of(root: Path) -> str:
    """What all commands have logged."""
    logs = sorted(root.glob("logs/**/*.log"))
    return "".join(path.read_text(errors="replace") for path in logs)


def leftovers(root: Path, temporary: Path) -> list[str]:
    """What a run that finished must not leave."""
    found = [f"{node} is {state}" for node, state in states(root) if state in ("NEW", "RUNNING")]
    patterns = ("*.part", ".temp", "*-journal", "unfinished", "attempts", ".tmp", "*.partial")
    left = [path for pattern in patterns for path in root.rglob(pattern)]
    left += root.glob("artifacts/*/.system/stateful_working_dir/*")
    left += root.glob("work/*/*")
    left += temporary.iterdir()
    record = json.loads((root / "run.json").read_text())
    used = {str(root / f) for outputs in record["artifacts"].values() for f in outputs.values()}
    numbered = root.glob("artifacts/*/[!.]*/[0-9]*")
    left += [path for path in numbered if str(path) not in used and not any(path.iterdir())]
    for kind in ("serving/cxrflow", "edge"):
        left += [p for p in (root / kind).iterdir() if not p.name.isdecimal() and p.is_dir()]
    return [*found, *(f"{path} is left" for path in left)]


def survivors(root: Path) -> list[str]:
    """Commands of processes that name the root and still run a while after its run was killed."""
    deadline = time.monotonic() + _GONE_S
    while (found := _naming(str(root))) and time.monotonic() < deadline:
        time.sleep(0.1)
    return found


def _naming(text: str) -> list[str]:
    found = []
    for folder in Path("/proc").iterdir():
        if not folder.name.isdecimal() or int(folder.name) == os.getpid():
            continue
        try:
            words = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            works_there = os.readlink(folder / "cwd").startswith(text)
        except OSError:
            continue
        if works_there or text in words:
            found.append(words[:120] or folder.name)
    return found
