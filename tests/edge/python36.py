"""A CPython 3.6 with TensorFlow 2.6.2, the last for it: the Python of JetPack 4.

No Debian release has Python 3.6 and uv installs 3.8 and newer, so it is one of PATH or of pyenv.
`python -m tests.edge.python36` makes the environment, or says why it can't be had.
"""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from cxrflow.pipeline.setup.errors import SetupError
from cxrflow.pipeline.setup.steps import clean_env
from tests.edge import roots
from tests.edge.roots import Unavailable

PIP = "pip==21.3.1"  # the last for Python 3.6; the one inside it knows no manylinux2014
# What the device's image holds, but TensorFlow, whose 2.7 there is NVIDIA's.
WHEELS = ("tensorflow==2.6.2", "numpy==1.19.5", "pillow==8.4.0", "protobuf<3.20")
_LAYOUT = 1  # raise it when environments made before have to be made anew


def python() -> Path:
    """The environment's Python; makes it if need be. Raises Unavailable."""
    try:
        base = _find()
        folder = roots.root(
            "python36", [_LAYOUT, PIP, WHEELS, base], lambda root: _make(base, root)
        )
    except (SetupError, Unavailable) as error:
        raise Unavailable(f"no Python 3.6 with TensorFlow: {error}") from error
    return folder / "bin" / "python"


def run(
    arguments: Sequence[str | Path], timeout: float = 600, **environment: str
) -> subprocess.CompletedProcess[str]:
    """Runs it in a clean environment. Raises Unavailable."""
    return roots.run([python(), *arguments], timeout, TF_CPP_MIN_LOG_LEVEL="3", **environment)


def _find() -> str:
    """A Python 3.6 that starts: pyenv's shim of one that isn't chosen doesn't."""
    for program in _candidates():
        code = "import sys; print(sys.version_info[:2] == (3, 6) and sys.prefix)"
        done = subprocess.run(
            [program, "-c", code], capture_output=True, text=True, env=clean_env()
        )
        if done.returncode == 0 and done.stdout.startswith("/"):
            return str(program)
    raise SetupError("there is no python3.6 on PATH nor in pyenv (`pyenv install 3.6` makes one)")


def _candidates() -> Iterator[str]:
    if found := shutil.which("python3.6"):
        yield found
    pyenv = Path(os.environ.get("PYENV_ROOT") or Path.home() / ".pyenv")
    yield from map(str, sorted(pyenv.glob("versions/3.6.*/bin/python3.6")))


def _make(base: str, folder: Path) -> None:
    roots.call([base, "-m", "venv", str(folder)])
    pip = [str(folder / "bin" / "python"), "-m", "pip", "install", "--no-compile"]
    roots.call([*pip, "--upgrade", PIP])
    roots.call([*pip, "--only-binary=numpy,pillow,tensorflow,h5py,grpcio", *WHEELS])
    code = "import tensorflow as tf, PIL; print(tf.__version__)"
    version = roots.call([str(folder / "bin" / "python"), "-c", code])
    if "2.6.2" not in version:
        raise SetupError(f"its TensorFlow says it is {version.strip()[-100:]}")


if __name__ == "__main__":
    try:
        print(python())
    except Unavailable as reason:
        sys.exit(str(reason))
