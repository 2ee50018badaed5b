"""Data folders and PNGs made to order."""

import csv
import struct
import zlib
from collections.abc import Callable, Iterable, Sequence
from io import BytesIO
from pathlib import Path

import pytest

HEADER = [
    "Image Index",
    "Finding Labels",
    "Follow-up #",
    "Patient ID",
    "Patient Age",
    "Patient Gender",
    "View Position",
    "OriginalImage[Width",
    "Height]",
]


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def craft_png(
    width: int,
    height: int,
    raw: bytes,
    *,
    depth: int = 8,
    colour: int = 0,
    interlace: int = 0,
    stream: bytes | None = None,
    before: bytes = b"",
    after: bytes = b"",
) -> bytes:
    """A PNG of the filtered rows `raw` (or of the compressed `stream`), with correct checksums."""
    ihdr = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, interlace)
    idat = chunk(b"IDAT", zlib.compress(raw) if stream is None else stream)
    start = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", ihdr)
    return start + before + idat + after + chunk(b"IEND", b"")


@pytest.fixture
def unsynced(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody cuts the power in tests, and a sync waits for whatever else the machine writes."""
    for name in ("sync", "fsync"):
        monkeypatch.setattr(f"os.{name}", lambda *_: None)


@pytest.fixture(scope="session")
def png() -> Callable[..., bytes]:
    return craft_png


@pytest.fixture(scope="session")
def png_chunk() -> Callable[[bytes, bytes], bytes]:
    return chunk


@pytest.fixture(scope="session")
def picture() -> Callable[..., bytes]:
    """Encoded images of a gradient."""

    def make(side: int = 64, kind: str = "PNG", mode: str = "L", height: int | None = None):
        from PIL import Image

        buffer = BytesIO()
        Image.linear_gradient("L").resize((side, height or side)).convert(mode).save(buffer, kind)
        return buffer.getvalue()

    return make


@pytest.fixture
def data_folder(tmp_path: Path, picture) -> Callable[..., Path]:
    """Writes a data folder; rows are (image, findings[, patient, age, sex, view, follow-up])."""

    def make(
        rows: Sequence[Sequence[str]],
        *,
        table: str = "Data_Entry_2017.csv",
        images: str = "images",
        content: dict[str, bytes | None] | None = None,
        train_val: Iterable[str] | None = None,
        test: Iterable[str] | None = None,
    ) -> Path:
        root = tmp_path / "data"
        (root / images).mkdir(parents=True)
        (root / table).parent.mkdir(exist_ok=True)
        with (root / table).open("w", newline="") as f:
            writer = csv.writer(f)
            writer.writerow(HEADER)
            for image, findings, *rest in rows:
                default = ["", "50", "M", "PA", "0"]
                if image[:8].isdigit():
                    default[0] = str(int(image[:8]))
                patient, age, sex, view, follow_up = [*rest, *default[len(rest) :]]
                writer.writerow([image, findings, follow_up, patient, age, sex, view, 2500, 2048])
        files = {row[0]: picture() for row in rows} | (content or {})
        for name, data in files.items():
            if data is not None:
                (root / images / name).write_bytes(data)
        for name, names in (("train_val_list.txt", train_val), ("test_list.txt", test)):
            if names is not None:
                (root / name).write_text("".join(f"{n}\n" for n in names))
        return root

    return make


@pytest.fixture
def settings() -> dict:
    """Settings of a run, as `dataclasses.asdict` of its IngestConfig gives them."""
    return {
        "classes": ["Mass", "Nodule"],
        "cohort": "all",
        "split": "auto",
        "eval_share": 0.3,
        "test_share": 0.3,
        "split_salt": "cxrflow",
        "max_bad_share": 0.01,
        "min_side": 64,
        "max_side": 4096,
        "max_bytes": 2**20,
    }
