"""The gateway: from C-STORE to the results in the archive, many images in a row, and kills.

The model is one that answers at once, the archive one in this process: what is measured is the
gateway's own part.
"""

import argparse
import json
import multiprocessing
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import psutil
from pydicom.dataset import Dataset
from pydicom.uid import generate_uid

from tests.bench.figure import figure
from tests.support.ports import free_port

KILLS = 50
IMAGES = 10_000
_SIDE = 2048  # pixels of an X-ray, 12 bits in 16
_CLASSES = 2  # of many images in a row: what they cost is not the question
_WARM_SHARE = 0.2  # of the images: allocators settle, then memory must stay


def main(kills: int = KILLS, images: int = IMAGES) -> Iterator[dict[str, Any]]:
    """Yields the figures of issue 16; 0 kills or images leave theirs out."""
    from tests.serving.answering import PROBABILITIES, answering
    from tests.serving.gateway import hospital
    from tests.support import gateway_kills

    with tempfile.TemporaryDirectory() as name:
        folder, archive = Path(name, "one"), hospital.Archive()
        folder.mkdir()
        with answering(hospital.FakeModel()) as server, hospital.kept(archive) as archive_port:
            port = free_port()
            config = gateway_kills.write_config(
                folder, server, port, archive_port, collect={}, results={}
            )
            with _running(config) as pid:
                yield _latency(folder, port, archive, pid)
            if images:
                few = hospital.FakeModel(PROBABILITIES[:_CLASSES])
                with answering(few) as server:
                    config = gateway_kills.write_config(
                        folder, server, port, archive_port, keep_days=0
                    )
                    with _running(config) as pid:
                        yield _memory(folder, port, archive, pid, images)
        if kills:
            yield _kills(Path(name, "kills"), kills)


@contextmanager
def _running(config: Path) -> Iterator[int]:
    """A gateway in a process of its own; yields its number."""
    from tests.support import gateway_kills

    process = gateway_kills.start(multiprocessing.get_context("spawn"), config)
    try:
        yield process.pid
    finally:
        process.terminate()
        process.join()


def _kills(folder: Path, kills: int) -> dict[str, Any]:
    from tests.support import gateway_kills

    found = gateway_kills.trial(folder, kills, seed=0)
    wrong = len(found.lost) + len(found.doubled) + len(found.changed)
    return figure(
        f"gateway: lost or doubled in {found.kills} kills",
        wrong,
        "0",
        not wrong,
        images=found.sent,
        resent=found.resent,
        states=dict(found.killed_in),
    )


def _latency(folder: Path, port: int, archive: Any, pid: int) -> dict[str, Any]:
    """Seconds from the beginning of C-STORE to the last result in the archive, less decoding."""
    from cxrflow.schema.dicom.limits import DicomLimits
    from cxrflow.schema.dicom.render import read_dicom
    from cxrflow.schema.image_rules import ImageLimits
    from tests.serving.gateway import hospital

    whole, decoding, computing, process = [], [], [], psutil.Process(pid)
    for number in range(7):
        path = _large(folder / "large.dcm", number)
        started = time.monotonic()
        read_dicom(path, ImageLimits(), DicomLimits())
        decoding.append(time.monotonic() - started)
        before, started = len(archive.got), time.monotonic()
        while not _sent(port, path):
            time.sleep(0.2)
            started = time.monotonic()
        used = _cpu(process)
        hospital.until(lambda now=before: len(archive.got) == now + 2, 120)
        whole.append(time.monotonic() - started)
        computing.append(_cpu(process) - used)
    seconds = median(whole[2:]) - median(decoding)  # the first ones warm it up
    return figure(
        "gateway: seconds from C-STORE to both results, beyond decoding, model at once",
        seconds,
        "<= 1.5",
        seconds <= 1.5,
        clock=True,
        whole=round(median(whole[2:]), 3),
        decoding=round(median(decoding), 3),
        gateway_cpu=round(median(computing[2:]), 3),
    )


def _memory(folder: Path, port: int, archive: Any, pid: int, images: int) -> dict[str, Any]:
    """How far memory rises from the first fifth of the images to the last.

    Each image is a study of its own, with a connection of its own. The pixels are always the same
    few, so that making and sending them costs less than answering.
    """
    from tests.serving.gateway import hospital

    process, looks, slices = psutil.Process(pid), [], 20
    archive.keeps, before = False, archive.count
    xray = hospital.dcmread(hospital.write_xray(folder / "small.dcm"))
    started, used = time.monotonic(), _cpu(process)
    for number in range(images):
        for keyword in ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID"):
            setattr(xray, keyword, generate_uid())
        xray.file_meta.MediaStorageSOPInstanceUID = xray.SOPInstanceUID
        while not _sent(port, xray):
            time.sleep(0.2)
        if (number + 1) % max(1, images // slices) == 0:
            hospital.until(lambda now=number + 1: archive.count >= before + 2 * now, 600)
            seconds = time.monotonic() - started
            looks.append(_Look(seconds, process.memory_info().rss / 1e6, process.num_fds()))
    settled = [look.megabytes for look in looks[int(len(looks) * _WARM_SHARE) :]]
    rise = max(settled[-3:]) / settled[0] - 1
    return figure(
        f"gateway: rise of memory over {images} images",
        rise,
        "within 0.05",
        rise <= 0.05,
        pixels=f"{xray.Columns}x{xray.Rows}, {_CLASSES} classes, key images of 256",
        first=round(settled[0]),
        last=round(settled[-1]),
        results=archive.count - before,
        minutes=[round(look.seconds / 60, 1) for look in looks],
        megabytes=[round(look.megabytes) for look in looks],
        open_files=[look.files for look in looks],
        gateway_cpu_per_image=round((_cpu(process) - used) / images, 3),
    )


@dataclass(frozen=True)
class _Look:
    """A gateway after some images."""

    seconds: float  # since the first
    megabytes: float  # resident
    files: int  # open


def _sent(port: int, image: Path | Dataset) -> bool:
    """Whether an image was taken; a gateway that starts takes none yet."""
    from tests.serving.gateway import hospital

    dataset = hospital.dcmread(image) if isinstance(image, Path) else image
    try:
        return hospital.send_datasets(port, [dataset])[0].get("Status") == 0
    except (ConnectionError, RuntimeError):  # broken off while it was sent, on a busy machine
        return False


def _cpu(process: psutil.Process) -> float:
    """Seconds of processors that it has used."""
    times = process.cpu_times()
    return float(times.user + times.system)


def _large(path: Path, seed: int) -> Path:
    from tests.serving.gateway import hospital

    path = hospital.write_xray(path, seed)
    file = hospital.dcmread(path)
    noise = np.random.default_rng(seed).integers(0, 200, (_SIDE, _SIDE))
    shades = np.linspace(300, 3600, _SIDE)[None]
    file.Rows = file.Columns = _SIDE
    file.PixelData = (shades + noise).astype("<u2").tobytes()
    file.save_as(path)
    return path


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=KILLS)
    parser.add_argument("--images", type=int, default=IMAGES)
    given = parser.parse_args()
    for found in main(given.kills, given.images):
        print(json.dumps(found), flush=True)
