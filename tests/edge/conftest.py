"""The device's scripts lie flat and import each other by name: their folder is on the path."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from tests.edge.bundles import gray_png, tiny_bundle

sys.path.insert(0, str(Path(__file__).parents[2] / "edge"))

Infer = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="session")
def pngs() -> list[bytes]:
    """Twelve X-rays of noise with a slope, 64 to 150 pixels."""
    random = np.random.default_rng(1)
    sides = random.integers(64, 150, (12, 2))
    images = [random.integers(0, 200, side) + np.linspace(0, 55, side[1]) for side in sides]
    return [gray_png(image.astype(np.uint8)) for image in images]


@pytest.fixture(scope="session")
def bundle(pngs: list[bytes], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle with a tiny network in LiteRT's form and as a frozen graph; not to be changed."""
    pytest.importorskip("tensorflow")
    return tiny_bundle(tmp_path_factory.mktemp("edge") / "1795400000", pngs[:3])


@pytest.fixture
def folder(pngs: list[bytes], tmp_path: Path) -> Path:
    """A folder of all of them, 00.png to 11.png."""
    images = tmp_path / "images"
    images.mkdir()
    for i, png in enumerate(pngs):
        (images / f"{i:02}.png").write_bytes(png)
    return images


@pytest.fixture
def infer(bundle: Path) -> Infer:
    """Runs the bundle's infer.py as on the device."""

    def run(*arguments: object, **options: object) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, str(bundle / "infer.py"), *map(str, arguments)]
        env = {**os.environ, "PYTHONPATH": ""}
        options = {"timeout": 120, **options}
        return subprocess.run(command, capture_output=True, text=True, env=env, **options)

    return run
