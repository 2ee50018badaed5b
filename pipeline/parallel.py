"""Runs independent nodes at the same time on one machine, each in a process of its own.

Every node runs as `cxrflow node` runs it. The processes are forked from one that has loaded TFX and
TensorFlow, but used neither: loading them takes longer than most nodes.
"""

import logging
import multiprocessing
import os
import signal
import threading
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any

from cxrflow.pipeline import gpus, memory
from cxrflow.pipeline.one_line import as_one_line
from cxrflow.pipeline.terminal import NodeDisplay, redirected_to
from cxrflow.schema.errors import CxrflowError
from cxrflow.schema.processes import how_it_ended

PRELOADED = ["cxrflow.pipeline.preloaded"]
_ROOM = (
    2 * 2**30
)  # bytes that have to be free before another node starts; the demo's take 1 to 2 GB
_PATIENCE_S = 10  # how long a process may take to end after SIGTERM
_LOOK_S = 1.0  # how often memory is looked at again


@dataclass(frozen=True)
class Work:
    """One run of a pipeline."""

    ir: bytes  # of `ir.of_run`, serialised
    upstream: Mapping[str, Sequence[str]]  # of each node, in an order that can be run
    root: Path  # absolute
    logs: Path  # folder for a file each


def run(work: Work, jobs: int, display: NodeDisplay) -> None:
    """Runs all nodes, at most `jobs` at a time; inside the root.

    Where there are several GPUs each node sees one of them, another than the others as long as
    there are enough. When one fails, those that run are waited for, and no other is started. When
    this process is stopped or killed, they stop too.

    Raises:
        CxrflowError: the first failure.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(PRELOADED)
    visible = gpus.visible()
    running: dict[str, _Child] = {}
    done: set[str] = set()
    failure = ""
    try:
        while len(done) < len(work.upstream) and (running or not failure):
            if not failure:
                for node in ready(work.upstream, done, running)[: jobs - len(running)]:
                    if running and not _is_roomy():
                        break
                    gpu = gpus.least_busy(visible, [child.gpu for child in running.values()])
                    running[node] = _Child.start(context, work, node, gpu)
                    display.begin(node)
            wait([child.connection for child in running.values()], timeout=_LOOK_S)
            for node, child in [*running.items()]:
                ended = child.listen(display if len(running) == 1 else None)
                if ended is None:
                    continue
                del running[node]
                display.end(node, ended.cached, bool(ended.failure))
                failure = failure or ended.failure
                done.add(node)
    finally:
        _stop(running.values())
    if failure:
        raise CxrflowError(failure)


def ready(
    upstream: Mapping[str, Sequence[str]], done: set[str], running: Mapping[str, object]
) -> list[str]:
    """The nodes that can start now, in the pipeline's order."""
    waiting = [node for node in upstream if node not in done and node not in running]
    return [node for node in waiting if done.issuperset(upstream[node])]


@dataclass(frozen=True)
class _Ended:
    cached: bool = False
    failure: str = ""


@dataclass(frozen=True)
class _Child:
    """A node that runs."""

    node: str
    process: Any
    connection: Connection
    log: Path
    gpu: str  # the one that it sees; empty: all

    @classmethod
    def start(cls, context: Any, work: Work, node: str, gpu: str) -> "_Child":
        here, there = context.Pipe(duplex=False)
        log = work.logs / f"{node}.log"
        process = context.Process(target=_run, args=(there, work.ir, node, work.root, log, gpu))
        process.start()
        there.close()
        logging.info("%s runs in process %d, its log: %s", node, process.pid, log)
        return cls(node, process, here, log, gpu)

    def listen(self, display: NodeDisplay | None) -> _Ended | None:
        """What it said since; None while it runs."""
        try:
            while self.connection.poll():
                said = self.connection.recv()
                if isinstance(said, _Ended):
                    self.process.join()
                    return said
                if display:
                    display.handle(said)
        except EOFError:  # it ended without a word
            self.process.join()
            how = how_it_ended(self.process.exitcode)
            return _Ended(failure=f"{self.node} {how}; its log: {self.log}")
        return None


def _run(
    connection: Connection, serialised: bytes, node: str, root: Path, log: Path, gpu: str
) -> None:  # pragma: no cover (another process)
    """The life of a node's process."""
    end_with_command()
    # Else the first of several processes takes all of a GPU's memory.
    os.environ.setdefault("TF_FORCE_GPU_ALLOW_GROWTH", "true")
    if gpu:  # CUDA looks when it is first used: not yet in the process this one was forked from
        os.environ[gpus.VISIBLE] = gpu
    progress = logging.getLogger("cxrflow.progress")
    progress.addHandler(_Sender(connection))
    os.chdir(root)
    with redirected_to(log, "nothing"):
        try:
            from cxrflow.pipeline import engines

            cached = engines.run_serialised(serialised, node)
        except Exception as error:
            logging.exception("%s failed", node)
            connection.send(_Ended(failure=str(as_one_line(error, root, log))))
        else:
            connection.send(_Ended(cached))


class _Sender(logging.Handler):
    """Sends records of progress to the process that draws them."""

    def __init__(self, connection: Connection) -> None:
        super().__init__()
        self._connection = connection

    def emit(self, record: logging.LogRecord) -> None:
        with suppress(OSError):
            self._connection.send(logging.makeLogRecord({**vars(record), "exc_info": None}))


def end_with_command() -> None:
    """Has this process, a child of the command by multiprocessing, end at once with the command.

    The system's own word on a parent's end (prctl) tells of the fork server, which waits for its
    children.
    """

    def watch() -> None:
        command = multiprocessing.parent_process()
        if command is not None:
            command.join()
            os.kill(os.getpid(), signal.SIGKILL)

    threading.Thread(target=watch, daemon=True).start()


def _stop(children: Any) -> None:
    for child in children:
        child.process.terminate()
    for child in children:
        child.process.join(_PATIENCE_S)
        if child.process.is_alive():
            child.process.kill()
            child.process.join()


def _is_roomy() -> bool:
    left = memory.available()
    return left is None or left >= _ROOM
