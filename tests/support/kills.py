"""Kills a run of the tiny pipeline at random moments, and goes on with the same command."""

import multiprocessing
import random
import shutil
import signal
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cxrflow.pipeline import parallel
from cxrflow.pipeline.terminal import redirected_to
from tests.support import tiny_pipeline as tiny

SECONDS = 0.1  # a node waits with its output half-written


@dataclass
class Found:
    """What went wrong, if anything, in a run that was killed and then finished."""

    killed_at: list[str] = field(default_factory=list)  # what the last node to begin was
    faults: list[str] = field(default_factory=list)

    @property
    def kills(self) -> int:
        """How often it was killed."""
        return len(self.killed_at)


def trials(folder: Path, kills: int, seed: int) -> Iterator[Found]:
    """Runs that are killed again and again until one is let live, as often as it takes.

    Args:
        folder: where the roots go; it must not exist.
        kills: how many to do at least, together.
        seed: of the moments.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(parallel.PRELOADED)
    folder.mkdir()
    whole = folder / "whole"
    whole.mkdir()
    _start(context, whole).join()
    expected = texts(whole)
    moments, done, number = random.Random(seed), 0, 0
    while done < kills:
        number += 1
        root = folder / str(number)
        root.mkdir()
        found = _one(context, root, moments)
        if texts(root) != expected:
            found.faults.append("the result isn't an unbroken run's")
        found.faults += leftovers(root)
        done += found.kills
        yield found
        shutil.rmtree(root)


def _one(context: Any, root: Path, moments: random.Random) -> Found:
    found = Found()
    finished: set[str] = set()
    while True:
        before = _begun(root)
        process = _start(context, root)
        if found.kills < 8:  # so that it comes to an end
            _wait_for_lines(process, root, moments.randint(0, 4))
            process.join(moments.uniform(0, 2 * SECONDS))
            if process.is_alive():
                process.kill()  # it may have ended meanwhile
        process.join()
        again = finished & set(_begun(root)[len(before) :])
        found.faults += [f"{node} had finished and ran again" for node in sorted(again)]
        finished = finished_nodes(root)
        if process.exitcode == 0:
            return found
        if process.exitcode != -signal.SIGKILL:
            found.faults.append(
                f"exit code {process.exitcode}: {(root / 'log').read_text()[-500:]}"
            )
            return found
        found.killed_at.append((_begun(root) or ["-"])[-1])


def _wait_for_lines(process: Any, root: Path, more: int) -> None:
    """Until the nodes have said so much more, however slow the machine is."""
    wanted = len(_trace(root)) + more
    while process.is_alive() and len(_trace(root)) < wanted:
        time.sleep(0.005)


def run_quietly(root: Path) -> None:
    """In a process of its own."""
    with redirected_to(root / "log", "nothing"):
        tiny.run(root, SECONDS)


def texts(root: Path) -> dict[str, str]:
    """What the nodes put out in the end: the only whole folder of each."""
    found = sorted(root.glob("artifacts/*/text/*/text"))
    return {file.parts[-4]: file.read_text() for file in found}


def finished_nodes(root: Path) -> set[str]:
    """The nodes that ML Metadata knows to be finished."""
    return {node for node, state in states(root) if state == "COMPLETE"}


def states(root: Path) -> list[tuple[str, str]]:
    """Node and state of every execution."""
    from ml_metadata.metadata_store import MetadataStore
    from ml_metadata.proto import metadata_store_pb2 as mlmd

    config = mlmd.ConnectionConfig()
    if not (root / "metadata.sqlite").is_file():
        return []
    config.sqlite.filename_uri = str(root / "metadata.sqlite")
    config.sqlite.connection_mode = mlmd.SqliteMetadataSourceConfig.READWRITE_OPENCREATE
    store = MetadataStore(config)
    found = []
    for execution in store.get_executions():
        contexts = store.get_contexts_by_execution(execution.id)
        names = [c.name.partition(".")[2] for c in contexts if c.type == "node"]
        found.append((names[0], mlmd.Execution.State.Name(execution.last_known_state)))
    return found


def leftovers(root: Path) -> list[str]:
    """What a run that finished must not leave."""
    found = [f"{node} is {state}" for node, state in states(root) if state in ("NEW", "RUNNING")]
    parts = [*root.rglob("*.part"), *root.rglob(".temp"), *root.rglob("*-journal")]
    working = root.glob("artifacts/*/.system/stateful_working_dir/*")
    found += [f"{path} is left" for path in (*parts, *working)]
    for folder in root.glob("artifacts/*/text/*"):
        if [path.name for path in folder.iterdir()] != ["text"]:
            found.append(f"{folder} isn't whole")
    return found


def _start(context: Any, root: Path) -> Any:
    process = context.Process(target=run_quietly, args=(root,))
    process.start()
    return process


def _begun(root: Path) -> list[str]:
    """The nodes that really ran, in the order in which they began."""
    return [line.split()[1] for line in _trace(root) if line.startswith("begin ")]


def _trace(root: Path) -> list[str]:
    file = root / "trace"
    return file.read_text().splitlines() if file.exists() else []
