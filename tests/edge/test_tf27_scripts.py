"""The device's scripts in a real TensorFlow 2.7.4, on a whole ensemble's graph and LiteRT file."""

import csv
import json
import subprocess
from pathlib import Path

import numpy as np
import pytest

from tests.edge import tf27

pytestmark = [pytest.mark.tf, pytest.mark.machines, pytest.mark.timeout(600)]


@pytest.fixture(scope="module")
def ensemble(ensemble_bundle) -> Path:
    try:
        tf27.python()
    except tf27.Unavailable as reason:
        pytest.skip(f"no other machine: {reason}")
    return ensemble_bundle


def infer(bundle: Path, *arguments: object) -> str:
    """What infer.py says, which must end well."""
    done = tf27.run([bundle / "infer.py", *map(str, arguments)])
    print(done.stdout, done.stderr)
    assert done.returncode == 0
    return done.stdout


def probabilities(results: Path) -> dict[str, list[float]]:
    """By file name, of results.csv; a name twice fails."""
    with (results / "results.csv").open() as file:
        rows = list(csv.DictReader(file))
    found = {
        Path(row["file"]).name: [float(row[name]) for name in ("Bright", "Noisy", "Absent")]
        for row in rows
    }
    assert len(found) == len(rows)
    return found


def test_tensorflow_gives_the_golden_answers(ensemble):
    said = infer(ensemble, "--check", "--engine", "tf")
    assert "TensorFlow 2.7.4" in said
    assert "12 golden images" in said
    assert "passed" in said


def test_litert_resumes_and_both_engines_agree(ensemble, folder, tmp_path):
    first = sorted(folder.iterdir())[:7]
    said = infer(ensemble, *first, "--engine", "litert", "--out", tmp_path / "litert")
    assert "LiteRT (tensorflow)" in said
    journal = tmp_path / "litert" / "results.jsonl"
    journal.write_bytes(journal.read_bytes()[:-20])  # a power cut in the seventh row
    said = infer(ensemble, folder, "--engine", "litert", "--out", tmp_path / "litert")
    assert "6 of 12 images were done before" in said
    infer(ensemble, folder, "--engine", "tf", "--batch", "5", "--out", tmp_path / "tf")
    litert, tf = (probabilities(tmp_path / name) for name in ("litert", "tf"))
    assert sorted(litert) == sorted(tf) == [f"{i:02}.png" for i in range(12)]
    with np.load(ensemble / "golden" / "golden.npz") as golden:
        expected = golden["probabilities"]
    assert expected.std(axis=0).max() > 0.02  # far above the tolerance
    for found in (litert, tf):
        np.testing.assert_allclose([found[name] for name in sorted(found)], expected, atol=1e-3)
    rows = [json.loads(line) for line in journal.read_text().splitlines()]
    assert len(rows) == 12


def test_without_tensorrt_nothing_is_built(ensemble):
    done: subprocess.CompletedProcess[str] = tf27.run([ensemble / "build_trt.py"])
    assert done.returncode == 2
    last = done.stderr.strip().splitlines()[-1]
    assert last.startswith("build_trt: this TensorFlow has no TensorRT")
    assert "infer.py runs without TensorRT too" in last
    assert not ensemble.with_name(ensemble.name + ".trt").exists()
    assert not ensemble.with_name(ensemble.name + ".trt.new").exists()
