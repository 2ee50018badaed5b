"""GPUs of a machine that has none: a program in nvidia-smi's place tells of them."""

from pathlib import Path

import pytest

from cxrflow.pipeline import gpus

TWO = "GPU-1a, NVIDIA H100 80GB HBM3, 81559\nGPU-2b, NVIDIA GeForce RTX 3060, 12288\n"


@pytest.fixture
def driver(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A program that can be rewritten; it says TWO."""
    program = tmp_path / "nvidia-smi"
    program.write_text(f"#!/bin/sh\nprintf '{TWO}'\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    return program


def test_the_driver_tells(driver: Path) -> None:
    first, second = gpus.installed()
    assert (first.uuid, first.name) == ("GPU-1a", "NVIDIA H100 80GB HBM3")
    assert second.memory_gb == pytest.approx(12.88, abs=0.01)  # 12 GiB
    assert gpus.visible() == ["GPU-1a", "GPU-2b"]


@pytest.mark.parametrize(
    ("named", "seen"), [("1, 0", ["1", "0"]), ("", []), ("GPU-1a", ["GPU-1a"])]
)
def test_what_is_hidden_is_not_used(
    driver: Path, monkeypatch: pytest.MonkeyPatch, named: str, seen: list[str]
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", named)
    assert gpus.visible() == seen


@pytest.mark.parametrize("script", ["echo No devices were found", "exit 9"])
def test_a_driver_without_a_gpu(driver: Path, script: str) -> None:
    driver.write_text(f"#!/bin/sh\n{script}\n")
    assert gpus.installed() == []


def test_no_driver(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert gpus.installed() == []


@pytest.mark.parametrize(
    ("known", "taken", "expected"),
    [
        ("", "", ""),
        ("a", "", ""),
        ("ab", "", "a"),
        ("ab", "a", "b"),
        ("ab", "b", "a"),
        ("ab", "ab", "a"),
        ("ab", "aba", "b"),
    ],
)
def test_a_node_gets_the_gpu_that_fewest_have(known: str, taken: str, expected: str) -> None:
    assert gpus.least_busy([*known], [*taken]) == expected
