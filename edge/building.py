"""What builds of engines share: options, memory check, child process, golden inputs, last step."""

import argparse
import os
import re
import shutil
import signal
import subprocess
import time
from typing import Dict, List, Optional, Tuple

import numpy as np

from bundle import Bundle
from remedies import remedy

_PROGRESS_SECONDS = 15.0
# What TensorRT, CUDA, TensorFlow and C++ say when memory ends.
_NO_MEMORY = re.compile(
    r"out of memory|OutOfMemory|ResourceExhausted|Resource exhausted|bad_alloc|MemoryError|"
    r"Cuda Runtime \(2\)|CUDA_ERROR_OUT_OF_MEMORY",
    re.IGNORECASE,
)
_NO_DISK = re.compile("No space left on device|Disk quota exceeded", re.IGNORECASE)
_LESS_MEMORY = """
  what helps, in this order:
    smaller:     --workspace-mb 64 --batch 1
    no desktop:  sudo systemctl isolate multi-user.target   (until the next start)
    swap, 4 GB:  sudo fallocate -l 4G /swapfile && sudo chmod 600 /swapfile \\
                   && sudo mkswap /swapfile && sudo swapon /swapfile"""


class BuildError(Exception):
    """What is wrong and what to do."""


def add_options(parser: argparse.ArgumentParser, suffix: str) -> None:
    """The options of every build; `suffix` makes the default --out of the bundle's folder."""
    here = os.path.dirname(os.path.abspath(__file__))
    add = parser.add_argument
    add("--bundle", default=here, help="the bundle's folder; default: where this script lies")
    add("--out", help=f"where the engine goes; default: BUNDLE{suffix}")
    add("--batch", type=_positive, default=4, help="images at once, at most; default 4")
    add("--workspace-mb", type=_positive, default=256, help="TensorRT's memory; default 256")
    add(
        "--max-difference",
        type=float,
        default=0.01,
        help="of a probability from the source's on the golden inputs; default 0.01",
    )
    add("--ignore-memory", action="store_true", help="build although too little memory is free")


def memory_mb(meminfo: str = "/proc/meminfo") -> Dict[str, int]:
    """MiB of MemTotal, MemAvailable, SwapFree ...; {} where the system doesn't tell."""
    try:
        with open(meminfo) as file:
            lines = re.findall(r"^(\w+):\s+(\d+) kB$", file.read(), re.MULTILINE)
    except OSError:
        return {}
    return {name: int(kb) // 1024 for name, kb in lines}


def usable_mb(meminfo: str = "/proc/meminfo", swaps: str = "/proc/swaps") -> Optional[int]:
    """MiB that a build can have, which the GPU shares: free memory, and free swap.

    What swap takes in makes room. Half of a zram counts, JetPack's swap in compressed memory: it
    holds about twice what it takes. None where the system doesn't tell.
    """
    memory = memory_mb(meminfo)
    if "MemAvailable" not in memory:
        return None
    return memory["MemAvailable"] + max(0, memory.get("SwapFree", 0) - _zram_free_mb(swaps) // 2)


def require_memory(needed: int, meminfo: str = "/proc/meminfo", swaps: str = "/proc/swaps") -> None:
    """Raises BuildError if fewer than `needed` MiB are free, swap included."""
    free = usable_mb(meminfo, swaps)
    if free is not None and free < needed:
        raise BuildError(
            f"the build needs about {needed} MB of free memory and {free} are free, swap included"
            f" (--ignore-memory builds all the same){_LESS_MEMORY}"
        )


def _zram_free_mb(swaps: str) -> int:
    """MiB free on all zram devices; the table has Filename, Type, Size, Used, Priority, in KiB."""
    try:
        with open(swaps) as file:
            rows = [line.split() for line in file]
    except OSError:
        return 0
    zrams = [row for row in rows if len(row) >= 4 and "zram" in row[0] and row[2].isdigit()]
    return sum(int(row[2]) - int(row[3]) for row in zrams) // 1024


def stop_when_told() -> None:
    """SIGTERM, `docker stop`'s, ends a build as Ctrl-C does: its child too, and nothing is left."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)


def run_build(
    command: List[str], log: str, env: Optional[Dict[str, str]] = None, quiet: bool = False
) -> None:
    """Runs a build; its errors, and with `quiet` all it says, go to the file `log`.

    A build that ends for lack of memory would else leave the one word "Killed". Raises BuildError.
    """
    begin = shown = time.monotonic()
    with open(log, "w") as file:
        child = subprocess.Popen(
            command,
            stdout=file if quiet else None,
            stderr=file,
            env=env,
            preexec_fn=_first_to_be_killed,
        )
        try:
            while child.poll() is None:
                time.sleep(0.2)
                if time.monotonic() - shown >= _PROGRESS_SECONDS:
                    shown = time.monotonic()
                    free = usable_mb() or 0
                    print(f"  {shown - begin:.0f} s, {free} MB free, swap included", flush=True)
        except BaseException:
            child.kill()
            child.wait()
            raise
    if child.returncode:
        with open(log, errors="replace") as file:
            raise BuildError(_reason(child.returncode, file.read(), log))


def read_golden(bundle: Bundle) -> Tuple[np.ndarray, np.ndarray]:
    """The golden inputs: pixels float32 [G, S, S, 3], 0-255, and probabilities [G, C]."""
    with np.load(os.path.join(bundle.folder, "golden", "golden.npz")) as arrays:
        gray, probabilities = arrays["pixels"], arrays["probabilities"]
    return np.repeat(gray[..., None].astype(np.float32), 3, axis=-1), probabilities


def differences(probabilities: np.ndarray, expected: np.ndarray) -> Dict[str, float]:
    """The largest and the mean difference of probabilities [G, C] from the expected ones [G, C]."""
    difference = np.abs(probabilities - expected)
    return {"largest": float(difference.max()), "mean": float(difference.mean())}


def check_differences(found: Dict[str, float], limit: float) -> None:
    """Prints them. Raises BuildError if they are too large, or no numbers."""
    print("  difference: largest {largest:.1e}, mean {mean:.1e}".format(**found), flush=True)
    if not found["largest"] <= limit:
        raise BuildError(
            f"its probabilities differ by up to {found['largest']:.2g} from the source's, more than"
            f" --max-difference {limit:g}"
        )


def replace_folder(made: str, folder: str, mark: str) -> None:
    """Puts a finished folder in its place; what was there before goes only then.

    Raises BuildError if something else, without a file called `mark`, is there.
    """
    require_ours(folder, mark)
    before = folder + ".before"
    shutil.rmtree(before, ignore_errors=True)
    if os.path.exists(folder):
        os.rename(folder, before)
    os.rename(made, folder)
    shutil.rmtree(before, ignore_errors=True)


def require_ours(folder: str, mark: str) -> None:
    """Raises BuildError if `folder` is there and holds no file called `mark`."""
    if os.path.exists(folder) and not os.path.isfile(os.path.join(folder, mark)):
        raise BuildError(f"{folder} is there and no earlier build: name another --out")


def _positive(text: str) -> int:
    if int(text) < 1:
        raise ValueError("must be 1 or more")
    return int(text)


def _first_to_be_killed() -> None:
    """So that the kernel ends the build rather than this program, the shell or the container."""
    try:
        with open("/proc/self/oom_score_adj", "w") as file:
            file.write("1000")
    except OSError:
        pass


def _reason(code: int, output: str, log: str) -> str:
    lines = [line.strip() for line in output.split("\n") if line.strip()]
    last = lines[-1] if lines else "it said nothing"
    if _NO_DISK.search(output):
        return "the disk is full: free some, or name another --out"
    if code in (-signal.SIGKILL, 128 + signal.SIGKILL):
        return "out of memory: the kernel killed the build" + _LESS_MEMORY
    if _NO_MEMORY.search(output):
        return f"out of memory: {last}{_LESS_MEMORY}"
    if remedy(last):
        return f"{last}; {remedy(last)} (log: {log})"
    if code < 0:
        return f"the build crashed with signal {-code}: {last} (log: {log})"
    return last if code == 2 else f"the build failed: {last} (log: {log})"
