"""Whether this machine and its Python can run TFX."""

import os
import platform
import re
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path
from typing import Optional, Tuple

from . import places
from .errors import SetupError

PYTHONS = ("3.13", "3.12", "3.11", "3.10")
GLIBC = (2, 39)  # tag of the wheels of ml-metadata and tensorflow-data-validation


def unsupported_platform(system: str, machine: str) -> Optional[str]:
    """The reason why TFX has no wheels for this platform, or None."""
    if (system, machine) in (("Linux", "x86_64"), ("Darwin", "arm64")):
        return None
    advice = "use WSL 2" if system == "Windows" else "use such a machine"
    return (
        f"{system} on {machine} is not supported: TFX has packages for Linux on x86_64 and macOS on"
        f" arm64 only; {advice}"
    )


def supported_python(version: Tuple[int, int]) -> bool:
    """Whether TFX has packages for a Python, such as (3, 11)."""
    return "{}.{}".format(*version) in PYTHONS


def find_python() -> Optional[str]:
    """The newest supported CPython on PATH, asked for its version (a pyenv shim may be dead)."""
    for name in PYTHONS:
        path = shutil.which("python" + name)
        if path is None:
            continue
        try:
            code = "import platform as p; print(p.python_implementation(), p.python_version())"
            answer = subprocess.check_output([path, "-c", code], stderr=subprocess.DEVNULL).decode()
        except (OSError, subprocess.CalledProcessError):
            continue
        if answer.startswith("CPython " + name + "."):
            return path
    return None


def require_python() -> None:
    """Goes on with a supported interpreter in this one's place, or raises SetupError."""
    here = f"{platform.python_implementation()} {platform.python_version()}"
    free_threaded = bool(sysconfig.get_config_var("Py_GIL_DISABLED"))
    if (
        supported_python(sys.version_info[:2])
        and sys.implementation.name == "cpython"
        and not free_threaded
    ):
        return
    other = find_python()
    if other is None:
        raise SetupError(
            f"{here} at {sys.executable} is not supported and no other was found: install CPython"
            " 3.10 to 3.13, or name one: make setup PYTHON=/path/to/python3.12"
        )
    print(f"cxrflow setup: {here} is not supported, using {other}", flush=True)
    os.execv(other, [other, *sys.argv])


def leave_own_venv() -> None:
    """Goes on with the Python behind .venv when .venv's own, made ready for use, has called us."""
    if os.path.realpath(sys.prefix) == str(places.VENV):
        base = os.path.join(sys.base_prefix, "bin", "python{}.{}".format(*sys.version_info[:2]))
        os.execv(base, [base, *sys.argv])


def lacks_avx(cpuinfo: str) -> bool:
    """Whether the text of /proc/cpuinfo has flags and AVX is not among them."""
    flags = re.search(r"^flags\s*:(.*)$", cpuinfo, re.MULTILINE)
    return flags is not None and "avx" not in flags.group(1).split()


def glibc_version(text: Optional[str]) -> Optional[Tuple[int, int]]:
    """(2, 36) of "glibc 2.36"; None for anything else (musl)."""
    match = re.match(r"glibc (\d+)\.(\d+)", text or "")
    return (int(match.group(1)), int(match.group(2))) if match else None


def system_glibc() -> Optional[Tuple[int, int]]:
    """The C library's version, such as (2, 36); None where it isn't glibc."""
    try:
        return glibc_version(os.confstr("CS_GNU_LIBC_VERSION"))
    except (AttributeError, OSError, ValueError):
        return None


def require_disk(folder: Path, needed: float) -> None:
    """Raises SetupError when fewer than `needed` GB (10^9 bytes) are free."""
    free = shutil.disk_usage(folder).free / 1e9
    if free < needed:
        raise SetupError(
            f"too little disk: the environment needs {needed:.0f} GB and {free:.1f} GB are free in"
            f" {folder}; free some, or make {places.REPO / '.venv'} a link to a folder on a larger"
            " disk"
        )
