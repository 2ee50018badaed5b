"""When a process ends: with the one that started it or by a signal, and how it ended, in words."""

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


def set_by_signals(event: threading.Event) -> None:
    """SIGTERM and SIGINT set the event, for a main thread that waits for it.

    In a thread: the handler may come while the main thread holds the event's lock, as it does for
    a moment before it waits, and would then wait for itself.
    """
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: threading.Thread(target=event.set, daemon=True).start())


def how_it_ended(code: int) -> str:
    """A process's exit code in words, as multiprocessing gives it."""
    if code == -signal.SIGKILL:
        return "was killed: did it take too much memory?"
    if code < 0:
        return f"was ended by {signal.Signals(-code).name}"
    return f"ended with exit code {code}"


def _main(parent: int, module: str, *arguments: str) -> None:
    end_with_parent()
    if os.getppid() != parent:  # it ended before this one could say so
        sys.exit(1)
    sys.argv[1:] = arguments
    runpy.run_module(module, run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    _main(int(sys.argv[1]), *sys.argv[2:])
