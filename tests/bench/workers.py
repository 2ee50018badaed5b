"""Ingest and Transform with two processes (`beam.workers`) against one, and whether they agree.

    python -m tests.bench workers           2,016 images of 1,024 pixels
    python -m tests.bench.workers 480       others

Wall time from a node's start to its end, so that nothing else may run on the machine. TensorFlow
decodes several images at once in one process: a second one can add what it leaves of the cores. So
one process on one core is measured beside them.
"""

import json
import os
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.bench import steps
from tests.bench.figure import figure, measure
from tests.bench.transform import ingest, make_data, transform

IMAGES = 2_016  # at least
NODES = {"ImageExampleGen": ingest, "Transform": transform}
# Processes, and whether they have one core alone.
SIDES = {
    "one process, one core": (1, True),
    "one process": (1, False),
    "two processes (`beam.workers=2`)": (2, False),
}


def main(images: int = IMAGES) -> Iterator[dict[str, Any]]:
    """Yields the ratio."""
    found = json.loads(measure("-m", "tests.bench.workers", "run", str(images)).output)
    core, one, two = (found["sides"][side]["seconds"] for side in SIDES)
    ratio, same = one / two, found["same"]
    yield figure(
        "images/s of ingest and Transform with 2 processes, against 1", ratio, ">= 1.7",
        ratio >= 1.7 and same, images=found["images"], cores=os.cpu_count(), same=same,
        against_one_core=round(core / two, 4),
        one_against_one_core=round(core / one, 4), sides=found["sides"],
        table=table(found["sides"], found["images"]),
    )  # fmt: skip


def table(sides: dict[str, dict[str, float]], images: int) -> list[str]:
    """What each side took, as rows of a page's table."""
    alone = sides["one process, one core"]["seconds"]
    heads = "ingest, s | Transform, s | both against one core | CPU s"
    rows = [f"| {images:,} of NIH's originals | {heads} |", "|---|---|---|---|---|"]
    for side, took in sides.items():
        seconds = " | ".join(str(took[node]) for node in NODES)
        cost = f"{alone / took['seconds']:.2f} | {took['cpu_seconds']:.0f}"
        rows.append(f"| {side} | {seconds} | {cost} |")
    return rows


def run(images: int) -> dict[str, Any]:
    """What `main` reads."""
    with tempfile.TemporaryDirectory() as folder:
        data = Path(folder, "data")
        _, paths = make_data(data, images)
        for path in paths:
            path.read_bytes()  # into the page cache
        roots = {side: Path(folder, f"root-{i}") for i, side in enumerate(SIDES)}
        for root in roots.values():
            root.mkdir()
            (root / "data").symlink_to(data)
        steps.measured(_nothing, data)  # loads TensorFlow
        sides = {side: measured(*SIDES[side], root) for side, root in roots.items()}
        same, _ = steps.measured(_same, *list(roots.values())[1:])
        return {"images": len(paths), "sides": sides, "same": same}


def measured(workers: int, one_core: bool, root: Path) -> dict[str, Any]:
    """Seconds of each node and of both, and the processors' seconds."""
    walls, cost = steps.measured(_nodes, workers, one_core, root)
    rounded = {node: round(wall, 1) for node, wall in walls.items()}
    return {**rounded, "seconds": round(sum(walls.values()), 2), "cpu_seconds": round(cost.cpu, 1)}


def _nodes(workers: int, one_core: bool, root: Path) -> dict[str, float]:
    if one_core:
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    from cxrflow.pipeline import beam_options, beam_workers
    from cxrflow.pipeline.settings import BeamConfig

    beam_workers.prepare(workers)
    beam_args = beam_options.of_pipeline(BeamConfig(workers=workers))
    walls = {}
    for name, node in NODES.items():
        started = time.monotonic()
        node(root, beam_args)
        walls[name] = time.monotonic() - started
    return walls


def _nothing(root: Path) -> None:
    pass


def _same(one: Path, two: Path) -> bool:
    """Whether both wrote the same examples, raw and transformed."""
    import tensorflow as tf

    from cxrflow.components.images.records import split_records

    def files(root: Path) -> list[str]:
        return [str(p) for f in ("examples", "transformed") for p in sorted(root.glob(f"{f}/*/*"))]

    return all(
        tf.train.Example.FromString(a) == tf.train.Example.FromString(b)
        for pair in zip(files(one), files(two), strict=True)
        for a, b in zip(*(split_records([f]).as_numpy_iterator() for f in pair), strict=True)
    )


if __name__ == "__main__":
    os.environ["TF_USE_LEGACY_KERAS"] = "0"
    if sys.argv[1] == "run":
        print(json.dumps(run(int(sys.argv[2]))))
    else:
        for line in main(int(sys.argv[1])):
            print(json.dumps(line), flush=True)
