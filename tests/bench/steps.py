"""Nodes of a pipeline one after another, each in a process of its own: what each of them takes."""

import multiprocessing
import os
import resource
import threading
import time
from collections.abc import Callable, Iterator
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, NamedTuple

START = "start"  # what a run does before its first node: table, file names, fingerprint
_LOOK_S = 0.05


class Cost(NamedTuple):
    """What a step took."""

    cpu: float  # seconds, of it and its children
    wall: float  # seconds
    peak_gb: float  # of it and its children together; what they share counts for each


def run(
    profile: Path, overrides: list[str], data: Path, root: Path, last: str
) -> Iterator[tuple[str, Cost]]:
    """Runs a new pipeline as `cxrflow run --jobs` does, but for one node after another.

    Args:
        profile: YAML.
        overrides: as --set.
        data: folder of X-rays.
        root: folder of the run; a new one, or all that is there is taken from the cache.
        last: the node after which it ends; empty: all nodes run.
    """
    root.mkdir(exist_ok=True)
    (ir, nodes), cost = measured(_start, str(profile), overrides, data, root)
    yield START, cost
    for node in nodes:
        _, cost = measured(_run_node, ir, node, root)
        yield node, cost
        if node == last:
            return


def _start(profile: str, overrides: list[str], data: Path, root: Path) -> tuple[bytes, list[str]]:
    """What `cxrflow run` does before the first node; the pipeline and its nodes."""
    from cxrflow.pipeline import config, engines, ir
    from cxrflow.pipeline.data import require
    from cxrflow.pipeline.record import Origin
    from cxrflow.pipeline.run import create_pipeline

    settings = config.load(profile, overrides, data)
    require(settings, data)
    pipeline = create_pipeline(settings, data, Path())
    begun = engines.begin(pipeline, root, Origin(config.to_dict(settings), str(data), True))
    return begun.SerializeToString(), ir.node_ids(begun)


def _run_node(ir: bytes, node: str, root: Path) -> None:
    from cxrflow.pipeline import engines

    engines.run_serialised(ir, node)


def measured(step: Callable, *args: Any) -> tuple[Any, Cost]:
    """Runs a function inside the folder that is its last argument, in a process of its own.

    It is forked from one that has loaded TensorFlow and TFX, as those of `cxrflow run --jobs`.
    """
    import psutil

    from cxrflow.pipeline import parallel

    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(parallel.PRELOADED)
    here, there = context.Pipe(duplex=False)
    started = time.monotonic()
    process = context.Process(target=_child, args=(there, step, args))
    process.start()
    there.close()
    peak, clocks, ended = 0, dict[int, float](), threading.Event()

    def watch() -> None:
        nonlocal peak
        while not ended.wait(_LOOK_S):
            peak = max(peak, _look(psutil, process.pid, clocks))

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        result, cpu, own_peak = here.recv()
    except EOFError:
        raise RuntimeError(f"{step.__name__}{args[1:-1]} broke; its words are above") from None
    finally:
        ended.set()
        watcher.join()
        process.join()
    cpu = max(cpu, sum(clocks.values()))  # the workers' are never waited for, nor in `cpu`
    return result, Cost(cpu, time.monotonic() - started, max(peak, own_peak) / 1e9)


def _look(psutil: Any, pid: int, clocks: dict[int, float]) -> int:
    """Bytes of a process and its children; their processor seconds go into `clocks`, by id."""
    total = 0
    try:
        whole = psutil.Process(pid)
        for process in (whole, *whole.children(recursive=True)):
            total += process.memory_info().rss
            times = process.cpu_times()
            clocks[process.pid] = times.user + times.system
    except psutil.NoSuchProcess:
        pass
    return total


def _child(connection: Connection, step: Callable, args: tuple[Any, ...]) -> None:
    os.chdir(args[-1])
    os.dup2(2, 1)  # stdout is for figures
    result = step(*args)
    both = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    cpu = sum(usage.ru_utime + usage.ru_stime for usage in both)
    connection.send((result, cpu, both[0].ru_maxrss * 1024))
