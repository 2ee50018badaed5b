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
import os
import sys
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from tests.bench import steps
from tests.bench.figure import SHARED, figure, measure
from tests.bench.steps import Cost

SIZES = (1_000, 10_000, 112_120)
REACH_GB = 6.0
SIDE = 64  # pixels
PROFILE = Path(__file__).with_name("table.yaml")
_HEADER = (
    *("Image Index", "Finding Labels", "Follow-up #", "Patient ID", "Patient Age"),
    *("Patient Gender", "View Position"),
)


def main(sizes: Iterable[int] = SIZES, last: str = "") -> Iterator[dict[str, Any]]:
    """Yields each step's peak memory at the largest size and its time's growth, then the worst.

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
    yield from _worst({step: costs for step, costs in found.items() if len(costs) > 1})


def _worst(found: dict[str, dict[int, Cost]]) -> Iterator[dict[str, Any]]:
    """Yields the most memory of all steps, and how memory and time have grown."""
    if not found:
        return
    peaks = {step: costs[max(costs)].peak_gb for step, costs in found.items()}
    memory = {step: peaks[step] / costs[min(costs)].peak_gb for step, costs in found.items()}
    time = {s: _growth(costs, *sorted(costs)[-2:]) for s, costs in found.items()}
    for name, values, reach in (
        ("GB of memory of the largest step", peaks, REACH_GB),
        ("memory of a step with the most rows, against that with the fewest", memory, 1.5),
        ("growth of a step's processor time by the growth of its rows", time, 1.2),
    ):
        step = max(values, key=lambda name: values[name])
        lines = {"lines": _lines(found)} if values is peaks else {}
        yield figure(name, values[step], f"<= {reach:g}", values[step] <= reach, step=step, **lines)


def _lines(found: dict[str, dict[int, Cost]]) -> list[str]:
    """All steps as a table in plain text."""
    sizes = sorted(next(iter(found.values())))
    heads = [f"{rows:>9,}" for rows in sizes]
    lines = ["rows".ljust(23) + "".join(heads) + "   " + "".join(heads)]
    lines.append(" " * 23 + "GB".rjust(9 * len(sizes)) + "   " + "CPU s".rjust(9 * len(sizes)))
    for step, costs in found.items():
        memory = "".join(f"{costs[rows].peak_gb:9.2f}" for rows in sizes)
        lines.append(
            step.ljust(23) + memory + "   " + "".join(f"{costs[n].cpu:9.1f}" for n in sizes)
        )
    return lines


def _growth(costs: dict[int, Cost], fewer: int, more: int) -> float:
    """Processor time by the growth of the rows: 1 is linear, less is what doesn't grow."""
    return round(costs[more].cpu / costs[fewer].cpu / (more / fewer), 2)


def run(rows: int, last: str) -> Iterator[tuple[str, Cost]]:
    """Each step of a pipeline up to the node `last`, and what it took."""
    with tempfile.TemporaryDirectory() as folder:
        data = Path(folder, "data")
        write_table(data, rows)
        yield from steps.run(PROFILE, [], data, Path(folder, "root"), last)


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
