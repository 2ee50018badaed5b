"""Kills at any moment, and several devices, each in a process of its own."""

import json
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tests.support.disk import synced_paths

pytestmark = [pytest.mark.tf, pytest.mark.slow]

REPO = Path(__file__).parents[3]


def run(script: str, images: Path, out: Path) -> dict[str, Any]:
    done = subprocess.run(
        [sys.executable, "-m", f"tests.components.train.{script}", images, out],
        capture_output=True,
        text=True,
        cwd=REPO,
        timeout=280,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return json.loads(done.stdout.splitlines()[-1])


def test_the_same_seed_gives_the_same_bits_however_often_training_is_killed(image_folder, tmp_path):
    found = run("train_kills", image_folder, tmp_path)
    assert found["once"] == found["killed"]
    # Each kill lost the epoch it fell into, and no other; `epochs` are those of all layers.
    assert found["finished"] == {
        "storing features": {},
        "the head's second epoch": {"head": 1},
        "writing the first checkpoint of all layers": {"head": 2},
        "the second epoch of all layers": {"epochs": 1, "head": 2},
    }


def test_weights_are_on_the_disk_before_the_state_names_them(tmp_path, monkeypatch):
    from cxrflow.components.train.callbacks import ResumableStopping

    stopping = ResumableStopping(tmp_path, patience=1, epochs=2)
    stopping.set_model(SimpleNamespace(save_weights=lambda path: path.write_text("weights")))
    synced = synced_paths(monkeypatch)
    stopping.on_epoch_end(0, {"val_auc": 0.5})
    names = [path.name for path in synced]
    assert names == ["epoch-0000.weights.h5", "state.json.part", tmp_path.name]


def test_two_devices_train_as_one(image_folder, tmp_path):
    found = run("train_mirrored", image_folder, tmp_path)
    assert found["weights"] < 1e-4
    assert found["aucs"][0] == pytest.approx(found["aucs"][1], abs=0.02)
    assert found["mixed"] < 0.1
    assert found["dtypes"] == ["float32"]
