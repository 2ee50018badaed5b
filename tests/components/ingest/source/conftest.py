"""Folders of an own source, made to order."""

import csv
import gzip
from collections.abc import Callable, Mapping, Sequence
from io import BytesIO, StringIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cxrflow.components.ingest.source.settings import DataConfig
from cxrflow.pipeline import config
from tests.serving.dicoms import write_dicom


def _png(seed: int = 0) -> bytes:
    out = BytesIO()
    Image.fromarray(np.random.default_rng(seed).integers(0, 255, (64, 64), np.uint8)).save(
        out, "PNG"
    )
    return out.getvalue()


@pytest.fixture
def table(tmp_path: Path) -> Callable[..., Path]:
    """Writes a table: `rows` of a dict each, or text as it is."""

    def write(
        name: str,
        rows: Sequence[Mapping[str, object]] | str,
        separator: str = ",",
        encoding: str = "utf-8",
    ) -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if isinstance(rows, str):
            text = rows
        else:
            out = StringIO()
            names = list(dict.fromkeys(key for row in rows for key in row))
            writer = csv.DictWriter(out, names, delimiter=separator)
            writer.writeheader()
            writer.writerows(rows)
            text = out.getvalue()
        data = text.encode(encoding)
        path.write_bytes(gzip.compress(data) if name.endswith(".gz") else data)
        return path

    return write


@pytest.fixture
def images(tmp_path: Path) -> Callable[..., None]:
    """Writes PNGs (whatever the suffix says) at paths below the folder."""

    def write(*paths: str) -> None:
        for path in paths:
            whole = tmp_path / path
            whole.parent.mkdir(parents=True, exist_ok=True)
            whole.write_bytes(_png())

    return write


@pytest.fixture
def describe_as() -> Callable[..., DataConfig]:
    """A description as a profile's `data:` gives it."""

    def make(**fields: object) -> DataConfig:
        data = config.parse({"data": fields}).data
        assert data is not None
        return data

    return make


@pytest.fixture
def dicoms(tmp_path: Path) -> Callable[..., Path]:
    """Writes a small chest X-ray as DICOM at a path below the folder; elements as in pydicom."""

    def write(path: str, **elements: object) -> Path:
        whole = tmp_path / path
        whole.parent.mkdir(parents=True, exist_ok=True)
        pixels = np.random.default_rng(0).integers(0, 4096, (64, 64)).astype(np.uint16)
        said = {"StudyInstanceUID": "1.2.3", "BodyPartExamined": "CHEST", "ViewPosition": "PA"}
        return write_dicom(whole, pixels, **{**said, **elements})

    return write
