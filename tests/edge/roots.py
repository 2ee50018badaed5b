"""Private folders with another Python and its packages, made once and shared by all runs.

Packages of Debian are unpacked from this machine's own mirror, whose signatures apt checks; wheels
come from its package index. No root rights and no chroot.
"""

import fcntl
import hashlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from cxrflow.pipeline.setup.debian import (
    Source,
    configured_sources,
    distribution,
    fetch_from,
    mirrors,
)
from cxrflow.pipeline.setup.errors import SetupError, likely_cause
from cxrflow.pipeline.setup.install import uv_settings
from cxrflow.pipeline.setup.steps import clean_env

_READY = "ready"  # a root's file that is written last
_KEPT = ("HOME", "LANG", "PATH", "TMPDIR")  # of the environment, for what runs in a root


class Unavailable(Exception):
    """Why something can't be had on this machine."""


def root(name: str, spec: Any, make: Callable[[Path], None]) -> Path:
    """The folder that `make` fills, made anew when `spec` changes.

    It lies in ~/.cache/cxrflow/NAME, or where CXRFLOW_NAME_CACHE says.

    Raises:
        Unavailable: it can't be made; nothing is left of it, and it is tried again next time.
    """
    default = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache", "cxrflow", name)
    cache = Path(os.environ.get(f"CXRFLOW_{name.upper()}_CACHE") or default).absolute()
    folder = cache / hashlib.sha256(json.dumps([spec, str(cache)]).encode()).hexdigest()[:16]
    try:
        cache.mkdir(parents=True, exist_ok=True)
        with (cache / f"{folder.name}.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not (folder / _READY).exists():
                _make(folder, make)
    except (OSError, SetupError, subprocess.TimeoutExpired) as error:
        raise Unavailable(str(error)) from error
    return folder


def _make(folder: Path, make: Callable[[Path], None]) -> None:
    shutil.rmtree(folder, ignore_errors=True)  # of a run that was killed
    folder.mkdir()
    try:
        make(folder)
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    (folder / _READY).touch()


def unpack(suite: str, debs: list[str], folder: Path, architecture: str = "amd64") -> None:
    """Unpacks packages of a Debian release. Raises SetupError."""
    release = Path("/etc/os-release")
    name, codename = distribution(release.read_text() if release.is_file() else "")
    sources = mirrors(configured_sources(Path("/etc/apt")), codename) if name == "debian" else []
    if not sources or not shutil.which("apt-get"):
        raise SetupError(
            f"its packages come from a Debian mirror; {name or 'this system'} has none"
        )
    for number, source in enumerate(sources, 1):
        try:
            return _fetch(source, suite, debs, folder, architecture)
        except SetupError:
            if number == len(sources):
                raise


def _fetch(source: Source, suite: str, debs: list[str], folder: Path, architecture: str) -> None:
    fetch_from(call, source, suite, debs, folder, architecture)


def install(wheels: Sequence[str], folder: Path, python: str, platform: str) -> None:
    """Puts wheels for another Python ("3.9") and platform into a folder. Raises SetupError."""
    uv = str(Path(sys.executable).with_name("uv"))
    settings, options = uv_settings(call([sys.executable, "-m", "pip", "config", "list"]))
    where = ["--target", str(folder), "--only-binary", ":all:", *options]
    what = ["--python-version", python, "--python-platform", platform, *wheels]
    call([uv, "pip", "install", *where, *what], settings | clean_env())


def call(command: list[str], env: dict[str, str] | None = None) -> str:
    """What a command of the set-up puts out. Raises SetupError with the likely cause."""
    done = subprocess.run(
        command,
        env=env or clean_env(),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        timeout=600,
    )
    if done.returncode:
        raise SetupError(f"{Path(command[0]).name}: {likely_cause(done.stdout)}")
    return done.stdout


def run(
    command: Sequence[str | Path], timeout: float = 600, **environment: str
) -> subprocess.CompletedProcess[str]:
    """Runs a root's program in a clean environment."""
    env = {k: v for k, v in os.environ.items() if k in _KEPT}
    return subprocess.run(
        list(command), env=env | environment, capture_output=True, text=True, timeout=timeout
    )
