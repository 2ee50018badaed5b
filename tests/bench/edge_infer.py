"""The device's infer.py with LiteRT: MobileNet at 512 pixels over a folder of 1024-pixel PNGs.

It runs as on the device, a process of its own on two cores. What is compared is measured in turns
in the same run.
"""

import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil

from tests.bench.figure import ROOT, SHARED, figure

CORES = 2
TURNS = 3
IMAGES = 60  # of a turn
MANY = 5000
SIDE = 512
_SAMPLE_SECONDS = 0.2

# Decode alone and network alone, as infer.py does each of them.
_ALONE = """
import sys, time
sys.path.insert(0, {bundle!r})
import numpy as np
from bundle import open_bundle
from engines import Wanted, choose
from decoding import decode_ahead
from files import find_images
bundle, paths = open_bundle({bundle!r}), find_images([{images!r}]).images
begin = time.perf_counter()
for decoded in decode_ahead(paths, bundle.preprocessing, {threads}, {threads} + 2):
    assert decoded.pixels is not None
print(len(paths) / (time.perf_counter() - begin))
engine, _ = choose(bundle, Wanted(engine="litert", threads={threads}))
begin = time.perf_counter()
for _ in paths:
    engine.run(decoded.pixels[None])
print(len(paths) / (time.perf_counter() - begin))
"""


def main() -> Iterator[dict[str, Any]]:
    """Yields throughput and memory."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        bundle = root / "bundle"
        subprocess.run(
            [sys.executable, "-m", "tests.bench.edge_infer", str(bundle)], cwd=ROOT, check=True
        )
        originals, source = _originals(root)
        yield from _throughput(root, bundle, _links(originals, root / "some", IMAGES), source)
        yield from _memory(root, bundle, _links(originals, root / "many", MANY), source)


def _throughput(root: Path, bundle: Path, images: Path, source: str) -> Iterator[dict[str, Any]]:
    alone: list[tuple[float, float]] = []
    both: list[float] = []
    whole_alone: list[tuple[float, float]] = []
    whole: list[float] = []
    for turn in range(TURNS):
        alone.append(_alone(bundle, images, 1))
        both.append(
            _infer(bundle, images, root / f"one{turn}", "--threads", "1", "--decoders", "1")
        )
        whole_alone.append(_alone(bundle, images, CORES))
        whole.append(_infer(bundle, images, root / f"all{turn}"))
    ratio = statistics.median(one / min(pair) for one, pair in zip(both, alone, strict=True))
    decode, network = (statistics.median(column) for column in zip(*alone, strict=True))
    yield figure(
        "infer.py's throughput on 2 cores, one thread to decode and one for the network / the "
        "slower of both alone",
        ratio,
        ">= 0.85",
        ratio >= 0.85,
        images_per_second=round(statistics.median(both), 1),
        decode_alone=round(decode, 1),
        network_alone=round(network, 1),
        with_its_defaults=round(statistics.median(whole), 1),
        network_alone_on_both_cores=round(statistics.median(b for _, b in whole_alone), 1),
        source=source,
    )


def _memory(root: Path, bundle: Path, images: Path, source: str) -> Iterator[dict[str, Any]]:
    process = _start(bundle, images, root / "memory")
    resident: list[float] = []
    watched = psutil.Process(process.pid)
    while process.poll() is None:
        try:
            resident.append(watched.memory_info().rss / 1e6)
        except psutil.Error:
            break
        try:
            process.wait(_SAMPLE_SECONDS)
        except subprocess.TimeoutExpired:
            continue
    if process.wait():
        raise RuntimeError(f"infer.py failed with {process.returncode}")
    peak = max(resident)
    yield figure(
        f"MB of memory of infer.py with LiteRT over {MANY} images, peak",
        peak,
        "<= 400",
        peak <= 400,
        source=source,
    )
    tenth = max(1, len(resident) // 10)
    early, late = max(resident[tenth : 2 * tenth]), max(resident[-tenth:])
    yield figure(
        "memory of infer.py, last tenth of the images / second tenth",
        late / early,
        "<= 1.05",
        late / early <= 1.05,
        second_tenth_mb=round(early),
        last_tenth_mb=round(late),
    )


def _alone(bundle: Path, images: Path, threads: int) -> tuple[float, float]:
    """Images a second: decode, network."""
    code = _ALONE.format(bundle=str(bundle), images=str(images), threads=threads)
    done = subprocess.run(
        [sys.executable, "-c", code],
        check=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        preexec_fn=_two_cores,
    )
    decode, network = map(float, done.stdout.split())
    return decode, network


def _infer(bundle: Path, images: Path, out: Path, *options: str) -> float:
    """Images a second, as infer.py says."""
    if _start(bundle, images, out, *options).wait():
        raise RuntimeError("infer.py failed")
    return json.loads((out / "summary.json").read_text())["images_per_second"]


def _start(bundle: Path, images: Path, out: Path, *options: str) -> "subprocess.Popen[bytes]":
    command = [sys.executable, str(bundle / "infer.py"), str(images), "--out", str(out)]
    return subprocess.Popen(
        [*command, "--engine", "litert", *options],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        preexec_fn=_two_cores,
    )


def _two_cores() -> None:
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:CORES])


def _originals(root: Path) -> tuple[list[Path], str]:
    """1024-pixel PNGs."""
    folder, source = SHARED / "data" / "nih-raw" / "images", "nih-raw"
    if not folder.is_dir():
        from cxrflow.components.ingest.phantom import write_phantoms

        write_phantoms(root / "phantoms", patients=10, seed=0, workers=1)
        folder, source = root / "phantoms" / "images", "synthetic phantoms"
    return sorted(folder.glob("*.png"))[:12], source


def _links(originals: list[Path], folder: Path, count: int) -> Path:
    """A folder of `count` files that are the originals in turn."""
    folder.mkdir()
    for i in range(count):
        (folder / f"{i:05}.png").symlink_to(originals[i % len(originals)])
    return folder


def _write_bundle(folder: Path) -> None:
    """A MobileNet with random weights in LiteRT's form, as EdgeExport converts it."""
    from cxrflow.components.edge.export.litert import convert
    from cxrflow.components.edge.export.source import Source
    from tests.bench.edge_models import write_model
    from tests.edge.bundles import model_info, variant, write_bundle

    with tempfile.TemporaryDirectory() as work:
        source = Source(write_model(Path(work, "model"), "MobileNet", SIDE, "none"))
        litert = convert(source)
    info = model_info(
        {"litert_fp32": variant("model_fp32.tflite", "litert")},
        classes=source.classes,
        side=SIDE,
        compact=SIDE,
    )
    write_bundle(folder, info, {"model_fp32.tflite": litert})


if __name__ == "__main__":
    _write_bundle(Path(sys.argv[1]))
