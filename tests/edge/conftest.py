"""The device's scripts lie flat and import each other by name: their folder is on the path."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cxrflow.components.edge.device import EDGE, PORTABLE
from tests.edge import ensemble
from tests.edge.bundles import gray_png, onnx_bundle, tiny_bundle

sys.path[:0] = [str(EDGE), str(PORTABLE)]

PIPES = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
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
    return tiny_bundle(tmp_path_factory.mktemp("edge") / "1795400000", pngs[:3])


@pytest.fixture(scope="session")
def ensemble_bundle(pngs: list[bytes], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle of a whole ensemble in the same two forms; not to be changed."""
    return ensemble.ensemble_bundle(tmp_path_factory.mktemp("ensemble"), pngs)


@pytest.fixture(scope="session")
def quick_bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle with an ONNX network, which needs no TensorFlow; not to be changed."""
    return onnx_bundle(tmp_path_factory.mktemp("quick") / "1795400000")


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
    return run_infer(bundle)


@pytest.fixture
def quick(quick_bundle: Path) -> Infer:
    """Runs the ONNX bundle's infer.py."""
    return run_infer(quick_bundle)


def run_infer(bundle: Path) -> Infer:
    def run(*arguments: object, **options: Any) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, str(bundle / "infer.py"), *map(os.fspath, map(_text, arguments))]
        env = {**os.environ, "PYTHONPATH": "", **options.pop("env", {})}
        return subprocess.run(
            command, **{**PIPES, "timeout": 120, **options}, text=True, errors="replace", env=env
        )

    return run


def _text(argument: object) -> str | bytes:
    return argument if isinstance(argument, bytes) else str(argument)
