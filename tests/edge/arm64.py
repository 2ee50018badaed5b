"""An aarch64 Python 3.9 with LiteRT, run by QEMU: the processor of a Jetson or a Raspberry Pi.

Debian 11's arm64 Python and aarch64 wheels, unpacked, and Debian 12's emulator of one process.
`python -m tests.edge.arm64` makes it, or says why it can't be had.
"""

import platform
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from cxrflow.pipeline.setup.errors import SetupError
from cxrflow.pipeline.setup.steps import clean_env
from tests.edge import roots, tf27
from tests.edge.roots import Unavailable

QEMU = "qemu-aarch64-static"
QEMU_SUITE = "bookworm"  # QEMU 7.2, under which ai-edge-litert 2.2 and newer crash
WHEELS = ("numpy==1.26.4", "pillow==8.4.0")
# Each in a folder of its own, so that infer.py finds one of them.
RUNTIMES = {
    "ai_edge_litert": ("ai-edge-litert==2.1.0",),
    "tflite_runtime": ("tflite-runtime==2.13.0",),
}
_PLATFORM = "aarch64-manylinux_2_31"
_LAYOUT = 3  # raise it when folders made before have to be made anew


def root() -> Path:
    """The folder; makes it if need be. Raises Unavailable."""
    spec = [_LAYOUT, QEMU_SUITE, tf27.SUITE, tf27.DEBS, WHEELS, RUNTIMES]
    try:
        return roots.root("arm64", spec, _make)
    except Unavailable as error:
        raise Unavailable(f"no aarch64 Python under QEMU: {error}") from error


def run(
    runtime: str, arguments: Sequence[str | Path], timeout: float = 600
) -> subprocess.CompletedProcess[str]:
    """Runs the aarch64 Python with one of RUNTIMES. Raises Unavailable."""
    here = root()
    packages = str(here / runtime)
    return roots.run([*_python(here), "-s", *arguments], timeout, PYTHONPATH=packages)


def _python(folder: Path) -> list[str]:
    system = folder / "system"
    return [str(folder / QEMU), "-L", str(system), str(system / "usr/bin/python3.9")]


def _make(folder: Path) -> None:
    if (platform.system(), platform.machine()) != ("Linux", "x86_64"):
        raise SetupError("the emulator is the one for Linux on x86_64")
    whole = folder / "qemu-user-static"
    whole.mkdir()
    roots.unpack(QEMU_SUITE, ["qemu-user-static"], whole)
    (whole / "usr/bin" / QEMU).rename(folder / QEMU)
    shutil.rmtree(whole)  # 40 other processors
    system = folder / "system"
    system.mkdir()
    roots.unpack(tf27.SUITE, tf27.DEBS, system, "arm64")
    roots.install(WHEELS, system / "usr/lib/python3/dist-packages", "3.9", _PLATFORM)
    for runtime, wheels in RUNTIMES.items():
        # Without what else it asks for: the interpreter needs numpy only.
        roots.install(["--no-deps", *wheels], folder / runtime, "3.9", _PLATFORM)
    # Proves that it works, and compiles it once for all.
    for runtime in RUNTIMES:
        code = f"import platform, PIL.Image, {runtime}.interpreter; print(platform.machine())"
        path = {**clean_env(), "PYTHONPATH": str(folder / runtime)}
        machine = roots.call([*_python(folder), "-s", "-c", code], path).strip()
        if machine != "aarch64":
            raise SetupError(f"its Python says it runs on {machine[-100:]}")


if __name__ == "__main__":
    try:
        print(root())
    except Unavailable as reason:
        sys.exit(str(reason))
