"""Time of an ensemble's serving_default against its members'.

All sides run in one process and in turn. A side's time is this process's CPU time, which other load
on the machine hardly changes, the best of several turns; wall time is reported beside it. The goal
is about what the members' networks take on decoded pixels plus one decoding of the originals. That
costs half as much as three small networks: `without_decoding` is the ratio to the networks alone.
"""

import csv
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from tests.bench.figure import SHARED, figure, measure

TURNS = 7
BATCH = 8
CLASSES = 13
IMAGE_SIZE = 224
COMPACT = {"image_size": 512, "encoding": "jpeg", "jpeg_quality": 95}
MEMBERS = {
    "attention": {"alpha": 1.0, "head": "attention"},
    "simple": {"alpha": 1.0, "head": "simple"},
    "narrow": {"alpha": 0.75, "head": "attention"},
}


def main() -> Iterator[dict[str, Any]]:
    """Yields the ratios to the members' networks with one decoding, and to their own serving."""
    found = json.loads(measure("-m", "tests.bench.ensemble").output.splitlines()[-1])
    cpu, wall = found["cpu_ms"], found["wall_ms"]
    ensemble = f"serving_default of a {len(MEMBERS)}-member ensemble"
    ratio, by_wall = (ms["ensemble"] / (ms["networks"] + ms["decoding"]) for ms in (cpu, wall))
    yield figure(
        f"{ensemble}, as a share of one decoding and the members' networks",
        ratio,
        "<= 1.1",
        ratio <= 1.1,
        without_decoding=round(cpu["ensemble"] / cpu["networks"], 4),
        by_wall_time=round(by_wall, 4),
        cpu_ms_per_image=cpu,
        images=found["images"],
        source=found["source"],
    )
    ratio, by_wall = (ms["ensemble"] / ms["served_alone"] for ms in (cpu, wall))
    yield figure(
        f"{ensemble}, as a share of the members' own serving_default",
        ratio,
        "<= 1.1",
        ratio <= 1.1,
        by_wall_time=round(by_wall, 4),
    )


def _measure_all() -> dict[str, Any]:
    """What `main` reads: milliseconds an image."""
    import numpy as np
    import tensorflow as tf

    from cxrflow.components.ensemble.combine import Combination
    from cxrflow.components.ensemble.graph import Members, export_ensemble
    from cxrflow.components.images.decoding import compact_batch
    from cxrflow.components.images.pixels import model_images, to_pixels
    from cxrflow.schema.model_json import CompactFormat

    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        images, source = _images(root)
        read = [_write_member(root / name, name) for name in MEMBERS]
        members = Members(read)
        export_ensemble(
            members,
            Combination("mean", np.full(len(MEMBERS), 1 / len(MEMBERS))),
            read[0].calibration,
            CompactFormat(**COMPACT),
            root / "ensemble",
        )
        loaded = [tf.saved_model.load(str(member.folder)).signatures for member in read]
        ensemble = tf.saved_model.load(str(root / "ensemble")).signatures
        encoded = [tf.constant(images[i : i + BATCH]) for i in range(0, len(images), BATCH)]
        compact = (COMPACT["image_size"], COMPACT["encoding"], COMPACT["jpeg_quality"])

        @tf.function(input_signature=[tf.TensorSpec([None], tf.string)])
        def decode(originals: tf.Tensor) -> tf.Tensor:
            found = compact_batch(originals, *compact)
            return to_pixels(model_images(found, compact[1], compact[0], IMAGE_SIZE))

        pixels = [decode(batch) for batch in encoded]
        sides: dict[str, Callable[[], Any]] = {
            "ensemble": lambda: [ensemble["serving_default"](image_bytes=x) for x in encoded],
            "decoding": lambda: [decode(x) for x in encoded],
            "networks": lambda: [one["network"](image=x) for one in loaded for x in pixels],
            "served_alone": lambda: [
                one["serving_default"](image_bytes=x) for one in loaded for x in encoded
            ],
        }
        clocks: dict[str, list[tuple[float, float]]] = {name: [] for name in sides}
        for turn in range(TURNS + 1):
            for name, run in sides.items():
                cpu, wall = time.process_time(), time.perf_counter()
                run()
                if turn:  # the first one warms up
                    clocks[name].append((time.process_time() - cpu, time.perf_counter() - wall))
        return {
            "images": len(images),
            "source": source,
            **{
                f"{clock}_ms": {
                    name: round(min(turn[i] for turn in turns) * 1000 / len(images), 2)
                    for name, turns in clocks.items()
                }
                for i, clock in enumerate(("cpu", "wall"))
            },
        }


def _images(root: Path) -> tuple[list[bytes], str]:
    """Originals of 1024 × 1024 pixels."""
    folder, source = SHARED / "data" / "nih-raw", "nih-raw"
    if not folder.is_dir():
        from cxrflow.components.ingest.phantom import write_phantoms

        folder, source = root / "phantoms", "synthetic phantoms"
        write_phantoms(folder, patients=10, seed=0, workers=1)
    with (folder / "Data_Entry_2017.csv").open() as table:
        names = [row["Image Index"] for row in csv.DictReader(table)]
    count = len(names) // BATCH * BATCH
    return [(folder / "images" / name).read_bytes() for name in names[:count]], source


def _write_member(folder: Path, name: str) -> Any:
    """A member with random weights, which take as long as trained ones."""
    from cxrflow.components.ensemble.members import Member
    from cxrflow.components.model.calibration import Calibration
    from cxrflow.components.model.network import build_network
    from cxrflow.components.model.recipe import TrainConfig
    from cxrflow.components.model.signatures import export
    from cxrflow.schema.model_json import CompactFormat

    recipe = TrainConfig(**MEMBERS[name], weights="none", image_size=IMAGE_SIZE)
    network = build_network(recipe, CLASSES).full
    calibration = Calibration.identity(CLASSES)
    export(
        lambda pixels: network(pixels, training=False),
        calibration,
        CompactFormat(**COMPACT),
        IMAGE_SIZE,
        folder,
    )
    return Member(name, recipe.backbone, recipe.head, folder, IMAGE_SIZE, calibration)


if __name__ == "__main__":
    os.environ["TF_USE_LEGACY_KERAS"] = "0"
    json.dump(_measure_all(), sys.stdout)
