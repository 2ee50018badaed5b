"""The shape of a figure, and how commands are timed."""

import importlib.metadata
import os
import platform
import re
import subprocess
import sys
import time
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
SHARED = ROOT.parent / "shared"


_REACH = re.compile(r"(<=?|>=?) *([0-9.]+)")
# What most figures depend on, besides the machine.
_PACKAGES = ("cxrflow", "tensorflow", "keras", "tfx", "apache-beam", "numpy", "ai-edge-litert")


def figure(
    name: str, value: float, reach: str, reached: bool, *, clock: bool = False, **more: Any
) -> dict[str, Any]:
    """A measured value beside what it should reach.

    Args:
        name: of the figure, with its unit.
        value: as measured.
        reach: in words; `ratio` is there if they begin with <, <=, > or >= and a number.
        reached: whether it is.
        clock: it is a time or a rate by itself, which another machine's doesn't compare with.
        more: further fields.
    """
    return {
        "figure": name,
        "value": round(value, 4),
        "reach": reach,
        "reached": reached,
        **against(value, reach),
        **({"clock": True} if clock else {}),
        **more,
    }


def against(value: float, reach: str) -> dict[str, Any]:
    """`comparison` and `ratio`, which is above 1 where the value is better than it has to be."""
    found = _REACH.match(reach)
    limit = float(found[2]) if found else 0
    if not found or limit <= 0 or value <= 0:
        return {}
    if found[1].startswith("<"):
        return {"comparison": f"{found[2]} / value", "ratio": round(limit / value, 4)}
    return {"comparison": f"value / {found[2]}", "ratio": round(value / limit, 4)}


@cache
def where() -> dict[str, Any]:
    """The machine, and the versions of what runs on it."""
    versions = {"python": platform.python_version()}
    for package in _PACKAGES:
        try:
            versions[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return {"machine": f"{_processor()}, {os.cpu_count()} cores", "versions": versions}


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def skipped(name: str, reason: str) -> dict[str, Any]:
    """A figure that can't be measured on this machine."""
    return {"figure": name, "skipped": reason}


@dataclass(frozen=True)
class Measured:
    """A finished command."""

    output: str
    seconds: float
    peak_gb: float  # resident memory of the largest process; a GB has 1e9 bytes
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
    return Measured(output, time.monotonic() - started, usage.ru_maxrss * 1024 / 1e9, cpu)
