"""Every node on a table of many rows, each with a small PNG: seconds and memory as rows grow.

    python -m tests.bench table                  1,000, 10,000 and 112,120 rows
    python -m tests.bench.table 1000 10000       others
    python -m tests.bench.table Transform 1000   up to a node

Each node runs as `cxrflow run --jobs` runs it, in a process of its own, but one after another. Its
memory is what it and its children have resident at the same time, TensorFlow and TFX included
(about half a gigabyte); its time is that of the processors. NIH's own table and lists are taken
where `../shared` has them, else patients are drawn. The pictures are 64 pixels wide, and a finding
is a bright square in them, so that there is something to learn.
"""

import csv
import gzip
import json
import multiprocessing
import os
import resource
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, NamedTuple

from tests.bench.figure import SHARED, figure, measure

SIZES = (1_000, 10_000, 112_120)
REACH_GB = 6.0
SIDE = 64  # pixels
PROFILE = Path(__file__).with_name("table.yaml")
START = "start"  # what a run does before its first node: table, file names, fingerprint
_LOOK_S = 0.05
_HEADER = (
    *("Image Index", "Finding Labels", "Follow-up #", "Patient ID", "Patient Age"),
    *("Patient Gender", "View Position"),
)


class Cost(NamedTuple):
    """What a step took."""

    cpu: float  # seconds
    wall: float  # seconds
    peak_gb: float


def main(sizes: Iterable[int] = SIZES, last: str = "") -> Iterator[dict[str, Any]]:
    """Yields each step's peak memory at the largest size, and how its time has grown.

    Args:
        sizes: numbers of rows.
        last: the node after which a run ends; empty: all nodes run.
    """
    found: dict[str, dict[int, Cost]] = {}
    for rows in sizes:
        output = measure("-m", "tests.bench.table", "run", str(rows), last).output
        for line in output.splitlines():
            step, *cost = json.loads(line)
            found.setdefault(step, {})[rows] = Cost(*cost)
    for step, costs in found.items():
        *before, most = sorted(costs)
        peak = costs[most].peak_gb
        yield figure(
            f"GB of memory of {step}", peak, f"<= {REACH_GB:g}", peak <= REACH_GB, rows=most,
            peak_gb={rows: round(cost.peak_gb, 2) for rows, cost in costs.items()},
            cpu_seconds={rows: round(cost.cpu, 1) for rows, cost in costs.items()},
            seconds={rows: round(cost.wall, 1) for rows, cost in costs.items()},
            growth=_growth(costs, before[-1], most) if before else None,
        )  # fmt: skip


def _growth(costs: dict[int, Cost], fewer: int, more: int) -> float:
    """Processor time by the growth of the rows: 1 is linear, less is what doesn't grow."""
    return round(costs[more].cpu / costs[fewer].cpu / (more / fewer), 2)


def run(rows: int, last: str) -> Iterator[tuple[str, Cost]]:
    """Each step of a pipeline up to the node `last`, and what it took."""
    from cxrflow.pipeline import parallel

    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(parallel.PRELOADED)
    with tempfile.TemporaryDirectory() as folder:
        data, root = Path(folder, "data"), Path(folder, "root")
        write_table(data, rows)
        root.mkdir()
        (ir, nodes), cost = _cost(context, _start, data, root)
        yield START, cost
        for node in nodes:
            _, cost = _cost(context, _run_node, ir, node, root)
            yield node, cost
            if node == last:
                return


def write_table(folder: Path, rows: int) -> None:
    """A data folder with so many images."""
    import cv2
    import numpy as np

    from cxrflow.schema.classes import CLASSES_14

    (folder / "images").mkdir(parents=True)
    table = list(_rows(folder, rows))
    with (folder / "Data_Entry_2017.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(_HEADER)
        writer.writerows(table)
    random = np.random.default_rng(0)
    backgrounds = random.integers(0, 100, (32, SIDE // 8, SIDE // 8), np.uint8)
    for number, (name, findings, *_) in enumerate(table):
        picture = cv2.resize(backgrounds[number % 32], (SIDE, SIDE))
        picture += random.integers(0, 16, picture.shape, np.uint8)
        for finding in findings.split("|"):
            if finding in CLASSES_14:
                y, x = (16 * n for n in divmod(CLASSES_14.index(finding), 4))
                picture[y : y + 12, x : x + 12] += 100
        content = cv2.imencode(".png", picture)[1]
        (folder / "images" / name).write_bytes(content.tobytes())


def _rows(folder: Path, count: int) -> Iterator[list[str]]:
    """Rows of `_HEADER`, the first of NIH's table; the official lists are written beside them."""
    labels = SHARED / "data" / "labels"
    if not labels.is_dir():
        yield from _drawn(count)
        return
    with gzip.open(labels / "Data_Entry_2017_v2020.csv.gz", "rt") as table:
        rows = [[row[name] for name in _HEADER] for row in csv.DictReader(table)][:count]
    names = {row[0] for row in rows}
    for name in ("train_val_list.txt", "test_list.txt"):
        listed = gzip.decompress((labels / f"{name}.gz").read_bytes()).decode().split()
        (folder / name).write_text("\n".join(one for one in listed if one in names))
    yield from rows


def _drawn(count: int) -> Iterator[list[str]]:
    from cxrflow.components.ingest.phantom.table import draw_patient
    from cxrflow.schema.classes import NO_FINDING

    patient = 0
    while count > 0:
        patient += 1
        for study in draw_patient(0, patient)[:count]:
            count -= 1
            findings = "|".join(study.findings) or NO_FINDING
            said = (study.follow_up, patient, study.age, study.sex, study.view)
            yield [study.image, findings, *map(str, said)]


def _start(data: Path, root: Path) -> tuple[bytes, list[str]]:
    """What `cxrflow run` does before the first node; the pipeline and its nodes."""
    from cxrflow.pipeline import config, engines, ir
    from cxrflow.pipeline.data import require
    from cxrflow.pipeline.record import Origin
    from cxrflow.pipeline.run import create_pipeline

    settings = config.load(str(PROFILE), [], data)
    require(settings, data)
    pipeline = create_pipeline(settings, data, Path())
    begun = engines.begin(pipeline, root, Origin(config.to_dict(settings), str(data), True))
    return begun.SerializeToString(), ir.node_ids(begun)


def _run_node(ir: bytes, node: str, root: Path) -> None:
    from cxrflow.pipeline import engines

    engines.run_serialised(ir, node)


def _cost(context: Any, step: Callable, *args: Any) -> tuple[Any, Cost]:
    """Runs a step in a process of its own, inside the root, which is its last argument."""
    import psutil

    here, there = context.Pipe(duplex=False)
    started = time.monotonic()
    process = context.Process(target=_child, args=(there, step, args))
    process.start()
    there.close()
    peak, ended = 0, threading.Event()

    def watch() -> None:
        nonlocal peak
        while not ended.wait(_LOOK_S):
            peak = max(peak, _resident(psutil, process.pid))

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
    return result, Cost(cpu, time.monotonic() - started, max(peak, own_peak) / 1e9)


def _resident(psutil: Any, pid: int) -> int:
    """Bytes of a process and its children."""
    total = 0
    try:
        whole = psutil.Process(pid)
        for process in (whole, *whole.children(recursive=True)):
            total += process.memory_info().rss
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


if __name__ == "__main__":
    os.environ["TF_USE_LEGACY_KERAS"] = "0"
    mode, *given = sys.argv[1:]
    if mode == "run":
        for step, cost in run(int(given[0]), given[1]):
            print(json.dumps([step, *cost]), flush=True)
    else:
        until = "" if mode.isdigit() else mode
        for found in main(map(int, given if until else sys.argv[1:]), until):
            print(json.dumps(found), flush=True)
