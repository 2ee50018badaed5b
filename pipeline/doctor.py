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
from typing import TYPE_CHECKING, Literal

from packaging.requirements import InvalidRequirement, Requirement
from packaging.version import Version

from cxrflow.pipeline import gpus, needs
from cxrflow.schema.packages import installed
from cxrflow.schema.space import free_bytes, nearest

if TYPE_CHECKING:
    from cxrflow.pipeline.settings import PipelineConfig

_REPO = Path(__file__).resolve().parents[1]
_PACKAGES = ("tensorflow", "tfx", "apache-beam", "keras", "tensorflow-serving-api")
_GLIBC = "2.39"  # as pipeline/setup/machine.py has it, which a wheel leaves out
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


def examine(
    runs: Path,
    imports: bool = True,
    profile: str | None = None,
    config: "PipelineConfig | None" = None,
) -> Iterator[Finding]:
    """Looks at everything, quick things first.

    Args:
        runs: where runs are to be written; need not exist yet.
        imports: also start TensorFlow and TFX, which takes 10 s to a minute.
        profile: what is to be run; None: the demo.
        config: its settings, whose weights are looked for; without them all are counted.
    """
    needed = needs.of_profile(profile)
    checks: list[Callable[[], Finding]] = [
        _python,
        _libc,
        _packages,
        lambda: _disk(runs, needed),
        lambda: _writable("output", nearest(runs)),
        lambda: _writable("temporary files", Path(tempfile.gettempdir())),
        lambda: _memory(needed),
        lambda: _gpus(needed),
        lambda: _weights_of(config) if config else _weights(),
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
    version = ".".join(map(str, sys.version_info[:3]))
    return Finding("Python", "ok", f"{version} at {sys.executable}")


def _libc() -> Finding:
    """This process's: the environment may have one of its own."""
    name, version = platform.libc_ver()
    if sys.platform == "darwin":
        return Finding("C library", "ok", "macOS's")
    if name != "glibc":
        return Finding("C library", "problem", f"no glibc: TFX's packages need glibc {_GLIBC}")
    text = f"glibc {version}"
    if Version(version) < Version(_GLIBC):
        return Finding("C library", "problem", f"{text}: TFX's packages need {_GLIBC}: {_remedy()}")
    return Finding("C library", "ok", text)


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


def _disk(runs: Path, needed: needs.Needs) -> Finding:
    free = free_bytes(runs) / 1e9
    text = f"{free:.1f} GB free in {nearest(runs)}; {needed.name} needs {needed.disk:g}"
    if free < needed.disk:
        return Finding("disk", "problem", text)
    whole = needs.of_profile("nih").disk
    return Finding("disk", "ok", f"{text} (NIH's X-rays take 45, a run of them all {whole:g})")


def _writable(name: str, folder: Path) -> Finding:
    try:
        with tempfile.TemporaryFile(dir=folder) as file:
            file.write(b"0" * 4096)
    except OSError as error:
        return Finding(
            name, "problem", f"{folder} can't be written ({error.strerror}): use another folder"
        )
    return Finding(name, "ok", f"{folder} can be written")


def _memory(needed: needs.Needs) -> Finding:
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
        values = {line.split(":")[0]: int(line.split()[1]) / 1e6 for line in lines}
        total, free = values["MemTotal"], values["MemAvailable"]
    except (OSError, KeyError, ValueError, IndexError):
        return Finding("memory", "note", "the system doesn't tell")
    text = f"{free:.1f} of {total:.1f} GB free, {os.cpu_count()} cores"
    text = f"{text}; {needed.name} needs {needed.memory:g}"
    if total < needed.memory or free < needs.DEMO.memory:
        return Finding("memory", "problem", text)
    return Finding("memory", "ok" if free >= needed.memory else "note", text)


def _gpus(needed: needs.Needs) -> Finding:
    found = gpus.installed()
    text = ", ".join(f"{gpu.name} of {gpu.memory_gb:.1f} GB" for gpu in found)
    text = text or "none that nvidia-smi tells of"
    if needed.gpu:
        text = f"{text}; {needed.name} is meant for one of {needed.gpu:g} GB"
        enough = any(gpu.memory_gb >= needed.gpu for gpu in found)
        return Finding("GPUs", "ok" if enough else "problem", text)
    return Finding("GPUs", "ok" if found else "note", text)


def _weights_of(config: "PipelineConfig") -> Finding:
    downloads, missing = needs.lacking_weights(config.members.values())
    if missing:
        more = f" (and {len(missing) - 1} more)" if len(missing) > 1 else ""
        return Finding("ImageNet weights", "problem", f"{missing[0]}{more}")
    if downloads:
        text = f"Keras will download those of {', '.join(downloads)}"
        return Finding("ImageNet weights", "note", f"{text}: or give --set train.weights_dir=DIR")
    return Finding("ImageNet weights", "ok", "those that are needed are here")


def _weights() -> Finding:
    if there := needs.backbones_here():
        text = f"of {', '.join(there)} in {needs.weights_folder()}"
        return Finding("ImageNet weights", "ok", text)
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
