"""The shape of a figure, and how commands are timed."""

import os
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
SHARED = ROOT.parent / "shared"


def figure(name: str, value: float, reach: str, reached: bool, **more: Any) -> dict[str, Any]:
    """A measured value beside what it should reach."""
    return {"figure": name, "value": round(value, 4), "reach": reach, "reached": reached, **more}


def skipped(name: str, reason: str) -> dict[str, Any]:
    """A figure that can't be measured on this machine."""
    return {"figure": name, "skipped": reason}


@dataclass(frozen=True)
class Measured:
    """A finished command."""

    output: str
    seconds: float
    peak_mb: float  # resident memory of the largest process
    cpu_seconds: float  # of it and of the processes that it waited for


def measure(*command: str) -> Measured:
    """Runs `python -m ...` of this environment in the repository; raises if it fails."""
    started = time.monotonic()
    process = subprocess.Popen(
        [sys.executable, *command], cwd=ROOT, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout
    output = process.stdout.read()
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise RuntimeError(f"{command} failed with {process.returncode}:\n{output}")
    cpu = usage.ru_utime + usage.ru_stime
    return Measured(output, time.monotonic() - started, usage.ru_maxrss / 1024, cpu)
