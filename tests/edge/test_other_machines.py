"""infer.py on an emulated aarch64 and on Python 3.6, beside this machine's answers."""

import csv
import subprocess
import sys
from collections.abc import Callable
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.edge import arm64, python36
from tests.edge.roots import Unavailable

pytestmark = [pytest.mark.tf, pytest.mark.machines, pytest.mark.timeout(1800)]

IMAGES = 20
TOLERANCE = 1e-5  # of a probability: another processor's order of additions
Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="module")
def xrays(pngs, tmp_path_factory) -> Path:
    """Twenty: gray PNGs, JPEGs, and PNGs with three and four channels."""
    folder = tmp_path_factory.mktemp("xrays")
    for i in range(IMAGES):
        pixels = np.asarray(Image.open(BytesIO(pngs[i % len(pngs)])))
        image = Image.fromarray(np.ascontiguousarray(np.rot90(pixels, i // len(pngs))))
        if i % 5 == 1:
            image.save(folder / f"{i:02}.jpg", quality=90)
        else:
            image.convert({2: "RGB", 3: "RGBA"}.get(i % 5, "L")).save(folder / f"{i:02}.png")
    return folder


@pytest.fixture(scope="module")
def expected(ensemble_bundle, xrays, tmp_path_factory) -> dict[str, list[float]]:
    """This machine's answers."""
    call = [sys.executable, ensemble_bundle / "infer.py", xrays, "--engine", "litert"]
    out = tmp_path_factory.mktemp("here")
    subprocess.run([*call, "--out", out], check=True, capture_output=True)
    found = probabilities(out)
    assert len(found) == IMAGES
    assert np.std(list(found.values()), axis=0).max() > 1000 * TOLERANCE
    return found


def probabilities(results: Path) -> dict[str, list[float]]:
    """By file name, of results.csv."""
    with (results / "results.csv").open() as file:
        rows = list(csv.DictReader(file))
    names = ("Bright", "Noisy", "Absent")
    return {Path(row["file"]).name: [float(row[name]) for name in names] for row in rows}


def prove(
    run: Run, bundle: Path, xrays: Path, out: Path, expected: dict[str, list[float]], engine: str
) -> str:
    """Runs --check and the twenty images; returns what --check said."""
    check = run([bundle / "infer.py", "--check", "--engine", engine])
    assert check.returncode == 0, check.stdout + check.stderr
    assert "passed" in check.stdout
    scored = run([bundle / "infer.py", xrays, "--out", out, "--engine", engine])
    assert scored.returncode == 0, scored.stdout + scored.stderr
    found = probabilities(out)
    assert list(found) == list(expected)
    np.testing.assert_allclose(list(found.values()), list(expected.values()), atol=TOLERANCE)
    return check.stdout


@pytest.mark.parametrize("runtime", arm64.RUNTIMES)
def test_aarch64(ensemble_bundle, xrays, expected, runtime, tmp_path):
    try:
        arm64.root()
    except Unavailable as reason:
        pytest.skip(f"no other machine: {reason}")

    def run(arguments: list[object]) -> subprocess.CompletedProcess[str]:
        return arm64.run(runtime, [str(one) for one in arguments])

    said = prove(run, ensemble_bundle, xrays, tmp_path / "out", expected, "litert")
    assert f"LiteRT ({runtime})" in said


@pytest.mark.parametrize("engine", ["litert", "tf"])
def test_python_36(ensemble_bundle, xrays, expected, engine, tmp_path):
    try:
        python36.python()
    except Unavailable as reason:
        pytest.skip(f"no other machine: {reason}")

    def run(arguments: list[object]) -> subprocess.CompletedProcess[str]:
        return python36.run([str(one) for one in arguments])

    said = prove(run, ensemble_bundle, xrays, tmp_path / "out", expected, engine)
    assert {"litert": "LiteRT (tensorflow)", "tf": "TensorFlow 2.6.2"}[engine] in said
