"""Makes the environment `.venv` from requirements.lock; standard library only.

    python3 pipeline/setup/bootstrap.py [--gpu]

Installs exactly what the lock names, by hash. When the system's glibc is older than TFX's wheels
need, the C library of the next Debian or Ubuntu release is unpacked inside `.venv`, and only the
Python of `.venv` uses it: the system stays as it is. Every failure ends with one line and exit code
2. The syntax is that of Python 3.6, so that an old Python gets its line too.
"""

import argparse
import contextlib
import os
import platform
import sys
import time
from pathlib import Path
from typing import Any, Dict, Iterator, Optional

if not __package__:  # run as a script: the modules beside it are a package of its folder's name
    sys.path[0] = str(Path(__file__).resolve().parents[1])
    __package__ = "setup"

from . import places
from .errors import SetupError, likely_cause
from .install import (
    install_packages,
    install_tools,
    link_sources,
    make_venv,
    use_private_glibc,
    uv_settings,
)
from .machine import (
    GLIBC,
    lacks_avx,
    leave_own_venv,
    require_python,
    system_glibc,
    unsupported_platform,
)
from .stamp import read_stamp, stamp_key, write_stamp
from .steps import Steps, clean_env

DISK_GB, DISK_GB_CUDA = 4.0, 9.0


def set_up(gpu: bool) -> str:
    """Makes or updates the environment if need be; returns what is there."""
    if _missing(gpu):
        with _alone():
            missing = _missing(gpu)  # another setup may have done it meanwhile
            if missing:
                begin = time.monotonic()
                _install(missing)
                return f"environment ready: .venv ({time.monotonic() - begin:.0f} s)"
    return f"environment ready: .venv (Python {platform.python_version()})"


def _missing(gpu: bool) -> Optional[Dict[str, Any]]:
    """The stamp that the environment should have, or None if it has it."""
    stamp = read_stamp()
    wanted = dict(stamp_key(), gpu=gpu or bool(stamp.get("gpu")))
    return None if stamp == wanted else wanted


@contextlib.contextmanager
def _alone() -> Iterator[None]:
    """While no other process sets this environment up."""
    import fcntl

    with (places.REPO / ".venv.lock").open("w") as file:
        os.set_inheritable(file.fileno(), True)  # held until our last child ends, if we are killed
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print("cxrflow setup: another setup is at work here; waiting for it", flush=True)
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _install(wanted: Dict[str, Any]) -> None:
    if os.pathsep in str(places.VENV):
        raise SetupError(
            f"Python cannot use a path with '{os.pathsep}' in it, as {places.VENV}: move it"
        )
    needs_glibc = False
    if sys.platform == "linux":
        system = system_glibc()
        if system is None:
            raise SetupError(
                "this system's C library is not glibc (musl?): TFX has no packages for it"
            )
        needs_glibc = system < GLIBC
        if lacks_avx(Path("/proc/cpuinfo").read_text()):
            raise SetupError("this CPU (or its virtual machine) lacks AVX, which TensorFlow needs")
    in_place = read_stamp().get("base") == wanted["base"]
    steps = Steps(total=2 if in_place else 4 + needs_glibc)
    print(
        f"cxrflow setup: Python {platform.python_version()} -> {places.VENV}, log: {places.LOG}",
        flush=True,
    )
    if in_place:
        write_stamp({})
        pip = [str(places.VENV / "bin" / "python"), "-I", "-m", "pip"]
    else:
        with steps.step("empty environment"):
            make_venv(needs_glibc, DISK_GB_CUDA if wanted["gpu"] else DISK_GB)
        with steps.step("pip and uv"):
            pip = install_tools(steps)
        if needs_glibc:
            with steps.step("newer C library, for .venv only"):
                use_private_glibc(steps)
    with steps.step("packages of requirements.lock" + (", CUDA" if wanted["gpu"] else "")):
        uv_env, options = uv_settings(steps.run([*pip, "config", "list"]))
        env = clean_env()
        if any(name.startswith("UV_") and "INDEX" in name for name in env):
            uv_env = {k: v for k, v in uv_env.items() if "INDEX" not in k}  # uv's own are complete
        install_packages(steps, dict(uv_env, **env), options, wanted["gpu"])
        link_sources()
    with steps.step("first import of TFX"):  # proves that it works, and compiles it once for all
        code = (
            "import tensorflow_model_analysis, tensorflow_data_validation, tfx.components; "
            "from tfx.orchestration.beam import beam_dag_runner"
        )
        quiet = dict(clean_env(), TF_CPP_MIN_LOG_LEVEL="3", TF_USE_LEGACY_KERAS="0")
        steps.run([str(places.VENV / "bin" / "python"), "-c", code], quiet)
    write_stamp(wanted)


def main() -> int:
    """Makes the environment; returns the exit code."""
    parser = argparse.ArgumentParser(description="Makes the environment .venv.")
    parser.add_argument("--gpu", action="store_true", help="add TensorFlow's CUDA libraries")
    gpu = parser.parse_args().gpu
    try:
        reason = unsupported_platform(platform.system(), platform.machine())
        if reason:
            raise SetupError(reason)
        require_python()
        leave_own_venv()
        print(set_up(gpu))
    except SetupError as error:
        print(f"cxrflow setup: {error}", file=sys.stderr)
        return 2
    except OSError as error:
        print(f"cxrflow setup: {likely_cause(str(error))}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("\ncxrflow setup: interrupted; run it again to start over", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
