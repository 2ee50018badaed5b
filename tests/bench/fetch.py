"""A large archive from a server that drops: is it whole, and what was fetched twice?

Kaggle's real client asks a server of ours, in this process. The PNGs are random bytes between the
chunks that make them whole: the pixels of an archive are nobody's business before ingest.
"""

import os
import random
import struct
import tempfile
import time
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest import mock

from tests.bench.figure import figure, skipped

BYTES = 2_000_000_000
DROP = 100_000_000
_IMAGE_BYTES = 500_000
_ROW = "{},{},0,{},50,M,PA,1024,1024,.1,.1,"
_HEADER = (
    "Image Index,Finding Labels,Follow-up #,Patient ID,Patient Age,Patient Gender,View Position,"
    "OriginalImageWidth,OriginalImageHeight,OriginalImagePixelSpacing_x,"
    "OriginalImagePixelSpacing_y,"
)


def main(size: int = BYTES, drop: int = DROP) -> Iterator[dict[str, Any]]:
    """Yields how much more than the archive was sent, once it is unpacked and verified."""
    from cxrflow.components.ingest import kaggle as ours
    from cxrflow.pipeline import config
    from cxrflow.pipeline.data import ingest_settings
    from tests.support.kaggle_server import ASK, KEY, USER, Kaggle, served

    with tempfile.TemporaryDirectory() as folder:
        free = os.statvfs(folder).f_bavail * os.statvfs(folder).f_frsize
        if free < 4 * size:
            yield skipped("fetch.twice", f"{4 * size / 1e9:.0f} GB of disk are needed")
            return
        archive = Path(folder, "archive.zip")
        images = write_archive(archive, size)
        environment = {
            "HOME": folder, "KAGGLE_USERNAME": USER, "KAGGLE_KEY": KEY, "NO_PROXY": "127.0.0.1",
            "KAGGLE_CONFIG_DIR": folder,
        }  # fmt: skip
        server = Kaggle(archive, drop_every=drop)
        with mock.patch.dict(os.environ, environment), served(server) as endpoint:
            from kagglesdk import kaggle_env

            place = {kaggle_env.KaggleEnv.PROD: endpoint}
            started = time.monotonic()
            with mock.patch.dict(kaggle_env._env_to_endpoint, place):
                settings = ingest_settings(config.load("nih"))
                report = ours.download("full", Path(folder, "to"), settings)
            took = time.monotonic() - started
        whole = report.rows == images and not report.problems
        twice = server.sent / archive.stat().st_size - 1
        questions = sum(path == ASK for path, _ in server.asked)
        yield figure(
            "fetch.twice", twice, "<= 0.01", whole and twice <= 0.01, whole=whole, images=images,
            gigabytes=archive.stat().st_size / 1e9, connections=len(server.asked) - questions,
            questions=questions, seconds=round(took, 1),
        )  # fmt: skip


def write_archive(path: Path, size: int) -> int:
    """Writes an archive of about so many bytes, in Kaggle's layout; the number of its images."""
    source = random.Random(0)
    images = max(2, size // _IMAGE_BYTES)
    rows = [_HEADER]
    with zipfile.ZipFile(path, "w") as z:
        for i in range(images):
            name = f"{i:08d}_000.png"
            z.writestr(
                f"images_{i % 12 + 1:03d}/images/{name}", _png(source.randbytes(_IMAGE_BYTES))
            )
            rows.append(_ROW.format(name, "Mass" if i % 2 else "No Finding", i))
        z.writestr("Data_Entry_2017.csv", "\n".join(rows) + "\n")
    return images


def _png(pixels: bytes) -> bytes:
    chunks = (
        (b"IHDR", struct.pack(">IIBBBBB", 1024, 1024, 8, 0, 0, 0, 0)),
        (b"IDAT", pixels),
        (b"IEND", b""),
    )
    parts = (
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        for kind, data in chunks
    )
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)
