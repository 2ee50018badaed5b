"""NVIDIA GPUs of this machine, as the driver's own program tells: TensorFlow would take them."""

import os
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass

_ASK = ["nvidia-smi", "--query-gpu=uuid,name,memory.total", "--format=csv,noheader,nounits"]
_SECONDS = 30
VISIBLE = "CUDA_VISIBLE_DEVICES"


@dataclass(frozen=True)
class Gpu:
    """One GPU."""

    uuid: str  # a name that CUDA_VISIBLE_DEVICES takes, whatever CUDA's order is
    name: str
    memory_gb: float  # of 1e9 bytes


def installed() -> list[Gpu]:
    """All that the driver knows of; none where there is no driver."""
    try:
        done = subprocess.run(_ASK, capture_output=True, text=True, timeout=_SECONDS, check=True)
        rows = [line.split(", ") for line in done.stdout.splitlines() if line.strip()]
        return [Gpu(uuid, name, float(mebibytes) * 2**20 / 1e9) for uuid, name, mebibytes in rows]
    except (OSError, subprocess.SubprocessError, ValueError):
        return []


def visible() -> list[str]:
    """Names of the GPUs that TensorFlow may use: those of CUDA_VISIBLE_DEVICES, else all."""
    if VISIBLE in os.environ:
        return [name.strip() for name in os.environ[VISIBLE].split(",") if name.strip()]
    return [gpu.uuid for gpu in installed()]


def least_busy(gpus: Sequence[str], taken: Sequence[str]) -> str:
    """The GPU that fewest nodes have, the first of equals; empty where there is no choice.

    taken: a name for each node that runs.
    """
    return min(gpus, key=taken.count) if len(gpus) > 1 else ""
