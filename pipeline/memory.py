"""How much memory is left, for whoever wants to start something beside what runs."""

from pathlib import Path

_CGROUP = Path("/sys/fs/cgroup")


def available(meminfo: Path = Path("/proc/meminfo"), cgroup: Path = _CGROUP) -> int | None:
    """Bytes that are free to take, on the machine and in the container; None: it isn't told."""
    found = [left for left in (_of_machine(meminfo), _of_container(cgroup)) if left is not None]
    return min(found, default=None)


def _of_machine(meminfo: Path) -> int | None:
    try:
        lines = meminfo.read_text().splitlines()
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvail"))
    except (OSError, ValueError, IndexError, StopIteration):
        return None


def _of_container(cgroup: Path) -> int | None:
    """By version 2 of control groups; "max" is no limit."""
    try:
        limit = (cgroup / "memory.max").read_text().strip()
        return int(limit) - int((cgroup / "memory.current").read_text())
    except (OSError, ValueError):
        return None
