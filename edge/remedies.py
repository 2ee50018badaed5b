"""Imports that fail on a Jetson: the true reason and its remedy, in one line.

Imports nothing but Python's own modules, so that it works where NumPy doesn't.
"""

import importlib
import os
import platform
import re
import signal
import subprocess
import sys
from typing import Any, List, Optional

SECCOMP = (
    "Docker's seccomp profile forbids what its libseccomp doesn't know: upgrade docker, containerd"
    " and libseccomp2 together, or start with SECCOMP=unconfined bash tx2-up.sh ..."
)
_OPENBLAS = (
    "NumPy 1.19.5's OpenBLAS takes a TX2's processor for another: set OPENBLAS_CORETYPE=ARMV8, or"
    " install numpy==1.19.4"
)
_LIBGOMP = "/usr/lib/aarch64-linux-gnu/libgomp.so.1"
_STATIC_TLS = re.compile(r"(?:(/\S+): )?cannot allocate memory in static TLS block")
_FORBIDDEN = re.compile(r"clone3|can't start new thread|pthread_create failed|not permitted")
_ILLEGAL = re.compile(r"[Ii]llegal instruction|SIGILL")


def remedy(text: str) -> str:
    """What helps against a known failure that `text` tells of; "" for all others."""
    static_tls = _STATIC_TLS.search(text)
    if static_tls:
        return f"start Python with LD_PRELOAD={static_tls.group(1) or _LIBGOMP}"
    if _ILLEGAL.search(text):
        return _OPENBLAS
    return SECCOMP if _FORBIDDEN.search(text) else ""


def explain(module: str, error: ImportError) -> str:
    """Why `import module` failed, in one line: that it isn't there, or what is wrong with it."""
    absent = isinstance(error, ModuleNotFoundError) and error.name in _parents(module)
    if absent:
        return f"{module.split('.')[0]} isn't installed"
    return _with_remedy(f"{module} can't be imported: {_last_line(str(error))}", str(error))


def require(script: str, *modules: str) -> None:
    """Ends the program with exit code 2 and one line on stderr if a module can't be imported."""
    for module in modules:
        problem = crash(module) if module == "numpy" and _may_crash() else None
        if problem is None:
            try:
                importlib.import_module(module)
                continue
            except ImportError as error:
                problem = explain(module, error)
        print(f"{script}: {problem}", file=sys.stderr)
        raise SystemExit(2)


def crash(module: str) -> Optional[str]:
    """Why `import module` would end this process, tried in a child; None if it wouldn't."""
    call = [sys.executable, "-c", "import " + module]  # type: List[str]
    try:
        child = subprocess.Popen(call, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    except OSError:  # under an emulator a child may not start; then it isn't known
        return None
    _, output = child.communicate()
    said = output.decode("utf-8", "replace")
    if child.returncode < 0:
        name = _signal(-child.returncode)
        return _with_remedy(f"import {module} crashes with {name}", f"{name} {said}")
    if child.returncode and "ImportError" not in said and "ModuleNotFoundError" not in said:
        return _with_remedy(f"{module} can't be imported: {_last_line(said)}", said)
    return None


def _may_crash() -> bool:
    """Whether NumPy's OpenBLAS guesses an ARM processor, which a child costs a second to try."""
    return platform.machine() == "aarch64" and "OPENBLAS_CORETYPE" not in os.environ


def _signal(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def _parents(module: str) -> List[str]:
    """a.b.c to a, a.b, a.b.c."""
    parts = module.split(".")
    return [".".join(parts[: i + 1]) for i in range(len(parts))]


def _with_remedy(problem: str, said: Any) -> str:
    helps = remedy(said)
    return f"{problem}; {helps}" if helps else problem


def _last_line(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1] if lines else "it says nothing"
