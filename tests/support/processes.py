"""Other processes."""

import time
from collections.abc import Iterable

import psutil


def has_ended(pid: int) -> bool:
    """Whether there is no such process, or only a zombie, which nobody has waited for yet."""
    try:
        return bool(psutil.Process(pid).status() == psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return True


def wait_until_ended(pids: Iterable[int]) -> None:
    """Returns once all have ended; else the test's own timeout ends it."""
    for pid in pids:
        while not has_ended(pid):
            time.sleep(0.02)
