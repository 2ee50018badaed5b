"""Processes that end with the one that started them, however that one ended."""

import ctypes
import os
import runpy
import signal
import sys
import threading
import time

_PR_SET_PDEATHSIG = 1  # of linux/prctl.h
_LOOK_S = 1.0  # how often a parent is looked for where the system doesn't tell


def end_with_parent() -> None:
    """Has this process killed when the thread that started it ends, as it does with its process."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    else:
        threading.Thread(target=_look_for, args=(os.getppid(),), daemon=True).start()


def module_command(module: str, *arguments: str) -> list[str]:
    """A command that runs a module in a process that ends with the thread that starts it."""
    return [sys.executable, "-m", __name__, str(os.getpid()), module, *arguments]


def _look_for(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(_LOOK_S)
    os._exit(1)


def _main(parent: int, module: str, *arguments: str) -> None:
    end_with_parent()
    if os.getppid() != parent:  # it ended before this one could say so
        sys.exit(1)
    sys.argv[1:] = arguments
    runpy.run_module(module, run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    _main(int(sys.argv[1]), *sys.argv[2:])
