"""Ingest and Transform on one core, against TensorFlow doing nothing but decoding and resizing.

All sides run in one process, pinned to one core, in turn, on the same originals from the page
cache. Rates are images per second of that process's CPU time, which other load on the machine
hardly changes, each the best of several turns; wall time is reported beside them. A node's time
runs from its first report of progress to its end: tracing graphs and reading tables is start-up.
"""

import csv
import json
import logging
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from tests.bench.figure import ROOT, SHARED, figure, measure

IMAGES = 1_000  # at least
TURNS = 3
SIZE = 512
IN_PROCESS = ("--runner=FnApiRunner",)  # Beam's options


class Clock(NamedTuple):
    """Seconds, or seconds an image."""

    cpu: float
    wall: float


def main() -> Iterator[dict[str, Any]]:
    """Yields the two ratios and the size of a compact image."""
    found = json.loads(measure("-m", "tests.bench.transform").output.splitlines()[-1])
    for name, times, reach in (
        ("Transform", [found["transform"]], 0.8),
        ("ingest and Transform together", [found["ingest"], found["transform"]], 0.65),
    ):
        cpu, wall = (
            found["bare"][clock] / sum(each[clock] for each in times) for clock in ("cpu", "wall")
        )
        yield figure(
            f"images/s of {name}, as a share of bare tf.data decode + resize",
            cpu,
            f">= {reach}",
            cpu >= reach,
            by_wall_time=round(wall, 4),
            images_per_cpu_second={
                side: round(1 / found[side]["cpu"], 1) for side in ("bare", "ingest", "transform")
            },
            images=found["images"],
            source=found["source"],
        )
    kilobytes = found["compact_bytes"] / 1000
    yield figure(f"KB of a compact image at {SIZE}, JPEG q95", kilobytes, "<= 80", kilobytes <= 80)


def _measure_all() -> dict[str, Any]:
    """What `main` reads; pins this process to one core first, before TensorFlow counts them."""
    os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        source, paths = make_data(root / "data", IMAGES)
        for path in paths:
            path.read_bytes()  # into the page cache
        turns: dict[str, list[Clock]] = {"bare": [], "ingest": [], "transform": []}
        for _ in range(TURNS):
            turns["bare"].append(_bare(paths))
            turns["ingest"].append(_timed(lambda: ingest(root), len(paths)))
            turns["transform"].append(_timed(lambda: transform(root), len(paths)))
        return {
            "images": len(paths),
            "source": source,
            "compact_bytes": _compact_bytes(root / "transformed"),
        } | {
            side: {
                "cpu": min(each.cpu for each in clocks),
                "wall": min(each.wall for each in clocks),
            }
            for side, clocks in turns.items()
        }


def make_data(folder: Path, images: int) -> tuple[str, list[Path]]:
    """A data folder with every original under several names; returns its source and images.

    There are `images` at least.
    """
    originals, source = SHARED / "data" / "nih-raw", "nih-raw, repeated"
    if not originals.is_dir():
        from cxrflow.components.ingest.phantom import write_phantoms

        originals, source = folder.parent / "phantoms", "synthetic phantoms, repeated"
        write_phantoms(originals, patients=20, seed=0, workers=1)
    with (originals / "Data_Entry_2017.csv").open() as table:
        header, *rows = csv.reader(table)
    (folder / "images").mkdir(parents=True)
    paths = []
    with (folder / "Data_Entry_2017.csv").open("w", newline="") as table:
        writer = csv.writer(table)
        writer.writerow(header)
        copies = -(-images // len(rows))
        for copy in range(copies):
            for name, *row in rows:
                patient, follow_up = name.split("_")
                patient = f"{int(patient) + 100_000 * copy:08d}"
                path = folder / "images" / f"{patient}_{follow_up}"
                path.symlink_to(originals / "images" / name)
                paths.append(path)
                row[header.index("Patient ID") - 1] = str(int(patient))
                writer.writerow([path.name, *row])
    return source, paths


def _now() -> Clock:
    return Clock(time.process_time(), time.perf_counter())


def _bare(paths: list[Path]) -> Clock:
    import tensorflow as tf

    def load(path: tf.Tensor) -> tf.Tensor:
        return tf.image.resize(tf.io.decode_png(tf.io.read_file(path), channels=1), [SIZE, SIZE])

    dataset = iter(tf.data.Dataset.from_tensor_slices([str(path) for path in paths]).map(load))
    next(dataset)
    started = _now()
    done = sum(1 for _ in dataset)
    return _per_image(started, done)


def _timed(run: Callable[[], None], images: int) -> Clock:
    """Runs a node; its time an image from its first report of progress on."""
    from cxrflow.schema.progress import logger

    reports: list[tuple[int, Clock]] = []

    class _Listener(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            reports.append((record.done, _now()))

    listener = _Listener()
    logger.addHandler(listener)
    run()
    logger.removeHandler(listener)
    done, started = reports[0]
    return _per_image(started, images - done)


def _per_image(started: Clock, images: int) -> Clock:
    return Clock(*((now - then) / images for now, then in zip(_now(), started, strict=True)))


def _artifact(kind: type, folder: Path) -> Any:
    artifact = kind()
    artifact.uri = str(folder)
    return artifact


def ingest(root: Path, beam_args: Sequence[str] = IN_PROCESS) -> None:
    """Writes `examples`, `records` and `quarantine` of the folder `data` in the root."""
    from tfx.types.standard_artifacts import Examples

    from cxrflow.components.artifacts import Quarantine
    from cxrflow.components.ingest.executor import Executor
    from cxrflow.components.ingest.settings import IngestConfig, IngestSettings
    from cxrflow.components.node import to_json

    kinds = {"examples": Examples, "records": Examples, "quarantine": Quarantine}
    for name in kinds:
        shutil.rmtree(root / name, ignore_errors=True)
    _executor(Executor, root, beam_args).Do(
        {},
        {name: [_artifact(kind, root / name)] for name, kind in kinds.items()},
        {
            "settings": to_json(
                IngestSettings(data_dir=str(root / "data"), data_version="", ingest=IngestConfig())
            )
        },
    )


def transform(root: Path, beam_args: Sequence[str] = IN_PROCESS) -> None:
    """Writes `graph` and `transformed` of what `ingest` wrote."""
    from tfx.types.standard_artifacts import Examples, Schema, TransformGraph

    from cxrflow.components.node import to_json
    from cxrflow.components.transform.executor import Executor
    from cxrflow.components.transform.settings import TransformConfig, TransformSettings
    from cxrflow.schema.classes import DEFAULT_CLASSES
    from cxrflow.schema.features import SPLITS

    inputs = {name: _artifact(Examples, root / name) for name in ("examples", "records")}
    for examples in inputs.values():
        examples.split_names = json.dumps(SPLITS)
    schema = root / "schema"
    schema.mkdir(exist_ok=True)
    shutil.copy(ROOT / "schema" / "schema.pbtxt", schema)
    outputs = {
        "transform_graph": _artifact(TransformGraph, root / "graph"),
        "transformed_examples": _artifact(Examples, root / "transformed"),
    }
    for artifact in outputs.values():
        shutil.rmtree(artifact.uri, ignore_errors=True)
    compact = TransformConfig(image_size=SIZE)
    settings = TransformSettings(classes=DEFAULT_CLASSES, compact=compact)
    _executor(Executor, root, beam_args).Do(
        {name: [artifact] for name, artifact in inputs.items()}
        | {"schema": [_artifact(Schema, schema)]},
        {name: [artifact] for name, artifact in outputs.items()},
        {"settings": to_json(settings)},
    )


def _executor(kind: type, root: Path, beam_args: Sequence[str]) -> Any:
    return kind(kind.Context(beam_pipeline_args=[*beam_args], tmp_dir=str(root / "tmp")))


def _compact_bytes(folder: Path) -> float:
    """Mean size of the transformed images."""
    import tensorflow as tf

    from cxrflow.schema.features import T_IMAGE

    files = [str(path) for path in folder.glob("Split-*/*")]
    spec = {T_IMAGE: tf.io.FixedLenFeature([], tf.string)}
    sizes = tf.data.TFRecordDataset(files).map(
        lambda one: tf.strings.length(tf.io.parse_single_example(one, spec)[T_IMAGE])
    )
    total = list(sizes.as_numpy_iterator())
    return float(sum(total) / len(total))


if __name__ == "__main__":
    os.environ["TF_USE_LEGACY_KERAS"] = "0"
    json.dump(_measure_all(), sys.stdout)
