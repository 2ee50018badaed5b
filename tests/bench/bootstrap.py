"""Time and memory of the gate's intervals at the size of NIH's official test list, on one core."""

import json
import os
import resource
import sys
import time
from collections.abc import Iterator
from typing import Any

from tests.bench.figure import figure, measure

IMAGES, PATIENTS, CLASSES = 25_596, 2_797, 14  # of the official test list
DRAWS = 1000
SECONDS, GIGABYTES = 60, 2.0


def main() -> Iterator[dict[str, Any]]:
    """Yields seconds and peak memory, of a process that does nothing else."""
    found = json.loads(measure("-m", "tests.bench.bootstrap").output.splitlines()[-1])
    size = f"{DRAWS:,} draws of {IMAGES:,} images × {CLASSES} classes"
    yield figure(
        f"seconds of the AUCs of {size}, one core",
        found["seconds"],
        f"< {SECONDS}",
        found["seconds"] < SECONDS,
        clock=True,
        cpu_seconds=round(found["cpu_seconds"], 2),
    )
    yield figure(
        f"GB of memory of {size}",
        found["gigabytes"],
        f"<= {GIGABYTES:g}",
        found["gigabytes"] <= GIGABYTES,
    )


def _measured() -> dict[str, float]:
    import numpy as np

    from cxrflow.components.evaluate.statistics.auc import drawn_aucs
    from cxrflow.components.evaluate.statistics.draws import Draws

    random = np.random.default_rng(0)
    prevalence = random.uniform(0.005, 0.25, CLASSES)  # Hernia's to Infiltration's
    labels = random.random((IMAGES, CLASSES)) < prevalence
    scores = (random.normal(size=labels.shape) + labels).astype(np.float32)
    patients = random.integers(0, PATIENTS, IMAGES)
    wall, cpu = time.perf_counter(), time.process_time()
    drawn_aucs(labels, scores, Draws.of(patients, DRAWS))
    return {
        "seconds": time.perf_counter() - wall,
        "cpu_seconds": time.process_time() - cpu,
        "gigabytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9,
    }


if __name__ == "__main__":
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:1])
    json.dump(_measured(), sys.stdout)
