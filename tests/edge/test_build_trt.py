"""build_trt.py around its child process, which alone needs TensorFlow; tf27_driver.py runs that."""

import sys
from pathlib import Path

import numpy as np
import pytest

import build_trt
import building
from tests.edge.bundles import model_info, variant, write_bundle

# In the child's place: `$1` is build_trt.py, `--into FOLDER` are its third and fourth option.
BUILDS = """#!/bin/sh
test "$TF_FORCE_GPU_ALLOW_GROWTH" = true || exit 3
echo "$*" > "$5/engine.json"
"""


@pytest.fixture
def bundle(tmp_path) -> Path:
    info = model_info({"frozen_graph": variant("frozen_graph.pb", "tensorflow")}, side=8)
    gray = np.zeros((1, 8, 8), np.uint8)
    answers = np.zeros((1, 3), np.float32)
    files = {"frozen_graph.pb": bytes(1 << 20)}
    return write_bundle(tmp_path / "1795400000", info, files, [b""], gray, answers)


@pytest.fixture
def child(tmp_path, monkeypatch):
    """Puts a shell script in Python's place."""

    def put(script: str) -> None:
        path = tmp_path / "python"
        path.write_text(script)
        path.chmod(0o755)
        monkeypatch.setattr(sys, "executable", str(path))

    return put


def build(bundle: Path, *options: str) -> int:
    return build_trt.main(["--bundle", str(bundle), *options])


def test_a_finished_engine_takes_its_place(bundle, child, capsys):
    child(BUILDS)
    assert build(bundle, "--batch", "2", "--workspace-mb", "64") == 0
    out = bundle.with_name("1795400000.trt")
    call = (out / "engine.json").read_text()
    assert f"--bundle {bundle} --into {out}.new --batch 2 --workspace-mb 64" in call
    assert f"built {out}" in capsys.readouterr().out
    assert build(bundle) == 0
    assert "--batch 4 --workspace-mb 256" in (out / "engine.json").read_text()
    assert sorted(path.name for path in bundle.parent.iterdir()) == [
        *("1795400000", "1795400000.trt", "1795400000.trt.log", "python")
    ]


@pytest.mark.parametrize(
    ("script", "told"),
    [
        ("#!/bin/sh\nkill -9 $$\n", "build_trt: out of memory: the kernel killed the build\n"),
        ("#!/bin/sh\necho noise >&2; echo why >&2; exit 2\n", "build_trt: why\n"),
    ],
)
def test_a_build_that_fails_leaves_the_last_engine(bundle, child, capsys, script, told):
    child(BUILDS)
    assert build(bundle) == 0
    child(script)
    assert build(bundle) == 2
    assert capsys.readouterr().err.startswith(told)
    assert bundle.with_name("1795400000.trt").joinpath("engine.json").exists()
    assert not bundle.with_name("1795400000.trt.new").exists()


def test_too_little_memory(bundle, child, monkeypatch, capsys):
    child(BUILDS)
    monkeypatch.setattr(building, "memory_mb", lambda path="": {"MemAvailable": 1000})
    assert build(bundle) == 2
    # Libraries 1500, 4 × 2 MiB of weights, workspace 256; 8 pixels need next to nothing.
    assert "needs about 1764 MB of free memory and 1000 are free" in capsys.readouterr().err
    assert build(bundle, "--ignore-memory") == 0


def test_memory_needed():
    # 2 float32 maps of 64 channels at 512 × 512 are 128 MiB an image.
    assert build_trt.memory_needed(10, 256, 4, 512) == 1500 + 40 + 256 + 512


def test_a_changed_bundle_is_refused(bundle, child, capsys):
    child(BUILDS)
    (bundle / "frozen_graph.pb").write_bytes(b"other")
    assert build(bundle) == 2
    assert "frozen_graph.pb was changed" in capsys.readouterr().err


def test_other_bad_input(bundle, child, tmp_path, capsys):
    child(BUILDS)
    assert build(tmp_path / "nowhere") == 2
    assert "is no edge bundle" in capsys.readouterr().err
    assert build(bundle, "--out", str(tmp_path)) == 2
    assert "no earlier build" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        build(bundle, "--batch", "0")
