"""`cxrflow doctor`: what of this machine and environment a run, a server or a download needs."""

import json
import os
import platform
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from packaging.requirements import InvalidRequirement, Requirement

from cxrflow.schema.packages import installed
from cxrflow.schema.space import free_bytes, nearest

_REPO = Path(__file__).resolve().parents[1]
_PACKAGES = ("tensorflow", "tfx", "apache-beam", "keras", "tensorflow-serving-api")
_DISK_GB, _MEMORY_GB = 5, 4  # what the demo needs: README
_IMPORT_SECONDS = 300
# In a child: TensorFlow writes to the terminal as it starts, and a broken one can end the process.
_IMPORT = (
    "import json, keras, tfx, tensorflow as tf;"
    "gpus = [g.name for g in tf.config.list_physical_devices('GPU')];"
    "print(json.dumps({'backend': keras.backend.backend(), 'gpus': gpus}))"
)


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at."""

    name: str
    status: Literal["ok", "note", "problem"]  # note: only some commands need it
    text: str  # what is there, and what to do where something is missing


def examine(runs: Path, imports: bool = True) -> Iterator[Finding]:
    """Looks at everything, quick things first.

    Args:
        runs: where runs are to be written; need not exist yet.
        imports: also start TensorFlow and TFX, which takes 10 s to a minute.
    """
    checks: list[Callable[[], Finding]] = [
        _python,
        _packages,
        lambda: _disk(runs),
        lambda: _writable("output", nearest(runs)),
        lambda: _writable("temporary files", Path(tempfile.gettempdir())),
        _memory,
        _weights,
        _kaggle,
        _docker,
        lambda: _port("gRPC port", 8500),
        lambda: _port("REST port", 8501),
    ]
    if imports:
        checks.append(_tensorflow)
    for check in checks:
        yield check()


def _python() -> Finding:
    libc = " ".join(platform.libc_ver()) or "unknown C library"
    return Finding("Python", "ok", f"{platform.python_version()} at {sys.executable}, {libc}")


def _packages() -> Finding:
    missing = [name for name in _PACKAGES if not installed(name)]
    if missing:
        return Finding("packages", "problem", f"{', '.join(missing)} missing: {_remedy()}")
    text = ", ".join(f"{name} {installed(name)}" for name in _PACKAGES)
    lock = _REPO / "requirements.lock"
    if not lock.is_file():
        return Finding("packages", "ok", text)
    others = [
        f"{name} {installed(name) or 'missing'} (lock: {wanted})"
        for name, wanted in locked_versions(lock.read_text(encoding="utf-8")).items()
        if installed(name) != wanted
    ]
    if others:
        more = f" and {len(others) - 3} more" if len(others) > 3 else ""
        return Finding(
            "packages",
            "note",
            f"not as in requirements.lock: {', '.join(others[:3])}{more}; `make setup` mends it",
        )
    return Finding("packages", "ok", f"{text}; all as in requirements.lock")


def _remedy() -> str:
    """What installs the packages: a checkout has a Makefile, an installed wheel has not."""
    if (_REPO / "Makefile").is_file():
        return "run `make setup`"
    return 'pip install "cxrflow[pipeline]"'


def locked_versions(lock: str) -> dict[str, str]:
    """Name -> version of the lock's lines whose markers fit this Python and system."""
    found = {}
    for line in lock.splitlines():
        if not line[:1].isalnum():
            continue
        try:
            requirement = Requirement(line.rstrip(" \\"))
        except InvalidRequirement:
            continue
        if requirement.marker is None or requirement.marker.evaluate():
            found[requirement.name] = str(requirement.specifier).removeprefix("==")
    return found


def _disk(runs: Path) -> Finding:
    free = free_bytes(runs) / 1e9
    text = f"{free:.1f} GB free in {nearest(runs)}"
    if free < _DISK_GB:
        return Finding("disk", "problem", f"{text}: the demo needs {_DISK_GB} GB")
    return Finding("disk", "ok", f"{text}; the whole NIH set needs about 150 GB with a run")


def _writable(name: str, folder: Path) -> Finding:
    try:
        with tempfile.TemporaryFile(dir=folder) as file:
            file.write(b"0" * 4096)
    except OSError as error:
        return Finding(
            name, "problem", f"{folder} can't be written ({error.strerror}): use another folder"
        )
    return Finding(name, "ok", f"{folder} can be written")


def _memory() -> Finding:
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
        values = {line.split(":")[0]: int(line.split()[1]) / 1e6 for line in lines}
        total, free = values["MemTotal"], values["MemAvailable"]
    except (OSError, KeyError, ValueError, IndexError):
        return Finding("memory", "note", "the system doesn't tell")
    text = f"{free:.1f} of {total:.1f} GB free, {os.cpu_count()} cores"
    if free < _MEMORY_GB:
        return Finding("memory", "problem", f"{text}: the demo needs {_MEMORY_GB} GB")
    return Finding("memory", "ok", text)


def _weights() -> Finding:
    folder = Path(os.environ.get("KERAS_HOME", Path.home() / ".keras")) / "models"
    there = sorted(folder.glob("*no_top*.h5")) if folder.is_dir() else []
    if there:
        return Finding("ImageNet weights", "ok", f"{len(there)} in {folder}")
    return Finding(
        "ImageNet weights",
        "note",
        "none on this machine: Keras downloads them, or give --set train.weights_dir=DIR",
    )


def _kaggle() -> Finding:
    folder = Path(os.environ.get("KAGGLE_CONFIG_DIR", Path.home() / ".kaggle"))
    in_environment = {"KAGGLE_USERNAME", "KAGGLE_KEY"} <= os.environ.keys()
    if in_environment or any((folder / n).is_file() for n in ("kaggle.json", "access_token")):
        return Finding("Kaggle", "ok", "credentials are there")
    return Finding(
        "Kaggle", "note", f"no credentials: `cxrflow data download` wants {folder}/kaggle.json"
    )


def _docker() -> Finding:
    if not shutil.which("docker"):
        return Finding("Docker", "note", "not there: `cxrflow serve` does without")
    try:
        done = subprocess.run(["docker", "info"], capture_output=True, timeout=10, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return Finding("Docker", "note", "its daemon doesn't answer: `cxrflow serve` does without")
    if done.returncode:
        return Finding("Docker", "note", "no running daemon: `cxrflow serve` does without")
    return Finding("Docker", "ok", "runs: TensorFlow Serving's image can be used")


def _port(name: str, number: int) -> Finding:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", number))
        except OSError as error:
            option = "--port" if number == 8500 else "--rest-port"
            return Finding(
                name,
                "note",
                f"{number}: {error.strerror}: `cxrflow serve {option} N` takes another",
            )
    return Finding(name, "ok", f"{number} is free")


def _tensorflow() -> Finding:
    env = {**os.environ, "TF_USE_LEGACY_KERAS": "0", "TF_CPP_MIN_LOG_LEVEL": "3"}
    command = [sys.executable, "-c", _IMPORT]
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=_IMPORT_SECONDS, env=env, check=False
        )
    except subprocess.TimeoutExpired:
        return Finding("TensorFlow", "problem", f"doesn't start within {_IMPORT_SECONDS} s")
    if done.returncode:
        last = (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1]
        return Finding("TensorFlow", "problem", f"doesn't start: {last}: {_remedy()}")
    found = json.loads(done.stdout.strip().splitlines()[-1])
    gpus = ", ".join(found["gpus"]) or "no GPU (`make setup GPU=1` adds CUDA libraries)"
    return Finding("TensorFlow", "ok", f"starts with TFX and Keras on {found['backend']}; {gpus}")
