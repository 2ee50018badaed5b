"""Other processes, as Linux shows them."""

from pathlib import Path


def has_ended(pid: int | str) -> bool:
    """Whether there is no such process, or only a zombie, which nobody has waited for yet."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:  # none, or it goes while it is read
        return True
