"""Decoding and halving a 1,024-pixel PNG on one core: what Transform does, against other ways.

Each side's time is this process's CPU time, the best of several turns, on the same originals in
8-bit gray. `isal + OpenCV` inflates with ISA-L and hands OpenCV the rows, still filtered, as a PNG
that isn't compressed: libpng then has nothing but the filters to undo.
"""

import json
import os
import struct
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from tests.bench.figure import SHARED, figure, measure

TURNS = 5
SIZE = 512
BARE = "tf.io.decode_png and tf.image.resize"
OURS = "Transform (kornia-rs)"
_BLOCK = 65_535  # bytes of a stored block, RFC 1951


def main() -> Iterator[dict[str, Any]]:
    """Yields how many times as fast as TensorFlow alone each way is, where pixels are the same."""
    found = json.loads(measure("-m", "tests.bench.decode").output.splitlines()[-1])
    for side, ms in found["ms"].items():
        if side == BARE:
            continue
        ratio, same = found["ms"][BARE] / ms, side not in found["differ"]
        more = {"same_pixels": same, "ms": round(ms, 2), "images": found["images"]}
        name = f"decoding and halving by {side}, so many times as fast as {BARE}"
        if side == OURS:
            more["table"] = table(found["ms"])
            yield figure(name, ratio, ">= 1.5", ratio >= 1.5 and same, **more)
        else:
            yield figure(name, ratio, "", True, **more)


def table(ms: dict[str, float]) -> list[str]:
    """What each way took, as rows of a page's table."""
    head = ["| by | ms | so many times as fast |", "|---|---|---|"]
    return head + [f"| {by} | {took:.1f} | {ms[BARE] / took:.2f} |" for by, took in ms.items()]


def _measure_all() -> dict[str, Any]:
    os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    import numpy as np

    pngs = _pngs()
    sides = _sides()
    truth = [sides[BARE](png) for png in pngs]
    differ = [
        side
        for side, decode in sides.items()
        if not all(np.array_equal(decode(p), t) for p, t in zip(pngs, truth, strict=True))
    ]
    clocks: dict[str, list[float]] = {side: [] for side in sides}
    for _ in range(TURNS):
        for side, decode in sides.items():
            started = time.process_time()
            for png in pngs:
                decode(png)
            clocks[side].append((time.process_time() - started) / len(pngs) * 1000)
    best = {side: min(times) for side, times in clocks.items()}
    return {"ms": best, "differ": differ, "images": len(pngs)}


def _sides() -> dict[str, Callable[[bytes], Any]]:
    """Each from a PNG's bytes to uint8 [SIZE, SIZE], all with one thread."""
    from io import BytesIO

    import cv2
    import numpy as np
    import tensorflow as tf
    from PIL import Image

    from cxrflow.components.images import quick_png
    from cxrflow.components.images.decoding import decode, to_square

    def graph(function: Callable[[tf.Tensor], tf.Tensor]) -> Callable[[bytes], Any]:
        traced = tf.function(function, input_signature=[tf.TensorSpec([], tf.string)])
        return lambda png: traced(tf.constant(png)).numpy()[..., 0]

    def bare(png: tf.Tensor) -> tf.Tensor:
        resized = tf.image.resize(tf.io.decode_png(png, channels=1), [SIZE, SIZE])
        return tf.cast(resized + 0.5, tf.uint8)

    def opencv(png: bytes) -> Any:
        pixels = cv2.imdecode(np.frombuffer(png, np.uint8), cv2.IMREAD_GRAYSCALE)
        return cv2.resize(pixels, (SIZE, SIZE), interpolation=cv2.INTER_AREA)

    cv2.setNumThreads(1)
    return {
        BARE: graph(bare),
        OURS: graph(lambda png: to_square(quick_png.decode(png), SIZE)),
        "the served model's graph": graph(lambda png: to_square(decode(png), SIZE)),
        "OpenCV": opencv,
        "Pillow": lambda png: np.asarray(Image.open(BytesIO(png), formats=["PNG"]).reduce(2)),
        "isal + OpenCV": lambda png: opencv(stored(png)),
    }


def stored(png: bytes) -> bytes:
    """Returns the PNG with its pixels not compressed."""
    from isal import isal_zlib

    parts, at = [], 8
    while at < len(png):
        (length,) = struct.unpack_from(">I", png, at)
        if png[at + 4 : at + 8] == b"IDAT":
            parts.append(png[at + 8 : at + 8 + length])
        at += 12 + length
    rows = isal_zlib.decompress(b"".join(parts))
    stream = [b"\x78\x01"]
    for begin in range(0, len(rows), _BLOCK):
        block = rows[begin : begin + _BLOCK]
        last = begin + _BLOCK >= len(rows)
        stream += [struct.pack("<BHH", last, len(block), len(block) ^ 0xFFFF), block]
    stream.append(struct.pack(">I", isal_zlib.adler32(rows)))

    def chunk(kind: bytes, data: bytes) -> bytes:
        return (
            struct.pack(">I", len(data)) + kind + data
            + struct.pack(">I", isal_zlib.crc32(data, isal_zlib.crc32(kind)))
        )  # fmt: skip

    return png[:33] + chunk(b"IDAT", b"".join(stream)) + chunk(b"IEND", b"")


def _pngs() -> list[bytes]:
    """Originals of 1024 × 1024 pixels in 8-bit gray."""
    folder = SHARED / "data" / "nih-raw"
    with tempfile.TemporaryDirectory() as phantoms:
        if not folder.is_dir():
            from cxrflow.components.ingest.phantom import write_phantoms

            folder = Path(phantoms, "phantoms")
            write_phantoms(folder, patients=10, seed=0, workers=1)
        files = sorted((folder / "images").glob("*.png"))
        return [png for png in (path.read_bytes() for path in files) if not png[25]]


if __name__ == "__main__":
    os.environ["TF_USE_LEGACY_KERAS"] = "0"
    json.dump(_measure_all(), sys.stdout)
