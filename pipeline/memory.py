"""How much memory is left, for whoever wants to start something beside what runs."""

from pathlib import Path

_CGROUP = Path("/sys/fs/cgroup")
# Of control groups 2 and 1, as kubelet reads them: folder, limit, what is taken, the cache in that.
_VERSIONS = (
    (".", "memory.max", "memory.current", "inactive_file"),
    ("memory", "memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
)


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
    """What control groups leave; the page cache that the kernel would drop first is free."""
    for folder, limit, usage, cache in _VERSIONS:
        try:
            most = int((cgroup / folder / limit).read_text())
            taken = int((cgroup / folder / usage).read_text())
        except (OSError, ValueError):  # such as "max", which is no limit
            continue
        return most - max(0, taken - _told(cgroup / folder / "memory.stat", cache))
    return None


def _told(stat: Path, name: str) -> int:
    try:
        lines = (line.split() for line in stat.read_text().splitlines())
        return next(int(words[1]) for words in lines if words[0] == name)
    except (OSError, ValueError, IndexError, StopIteration):
        return 0
