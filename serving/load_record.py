"""What a server made of a model's versions, written beside them for `cxrflow models`.

<serving root>/<model name>/.served.json    {"pid": 17, "host": "a", "served": 5,
                                             "rejected": {"7": "saved_model.pb was changed"}}
"""

import contextlib
import json
import os
import socket
from dataclasses import asdict, dataclass, field
from pathlib import Path

RECORD = ".served.json"


@dataclass(frozen=True)
class LoadRecord:
    """Which version a server serves, and which it rejected and why."""

    pid: int  # of the server
    host: str  # where it runs
    served: int | None  # the version that answers requests which name none
    rejected: dict[int, str] = field(default_factory=dict)

    @property
    def is_alive(self) -> bool:
        """Whether the server still runs, as far as this machine can tell."""
        return self.host == socket.gethostname() and Path(f"/proc/{self.pid}").is_dir()


def write_record(model_dir: Path, record: LoadRecord) -> None:
    """Writes the record, whole or not at all; a root that can't be written goes without."""
    aside = model_dir / f"{RECORD}.{os.getpid()}"
    with contextlib.suppress(OSError):
        aside.write_text(json.dumps(asdict(record)) + "\n", encoding="utf-8")
        aside.replace(model_dir / RECORD)


def read_record(model_dir: Path) -> LoadRecord | None:
    """The last server's record; None without one, or where it can't be understood."""
    try:
        fields = json.loads((model_dir / RECORD).read_text(encoding="utf-8"))
        rejected = {int(number): str(text) for number, text in fields.pop("rejected").items()}
        return LoadRecord(**fields, rejected=rejected)
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return None
