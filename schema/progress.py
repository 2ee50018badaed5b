"""Progress of long steps, as log records that the command line draws as bars."""

import logging
import threading
import time
from typing import Any, NamedTuple

logger = logging.getLogger("cxrflow.progress")
# Records travel to the handler that the command line adds, never to the terminal by default.
logger.setLevel(logging.INFO)
logger.propagate = False
logger.addHandler(logging.NullHandler())

_INTERVAL_S = 0.2
_lock = threading.Lock()
_last = 0.0


class Progress(NamedTuple):
    """What a record says."""

    done: int
    total: int | None  # None: unknown
    unit: str


def report(done: int, total: int | None, unit: str = "images") -> None:
    """Says that `done` of `total` (None: unknown) units are done; 5 records a second at most."""
    global _last
    now = time.monotonic()
    with _lock:
        if now - _last < _INTERVAL_S and done != total:
            return
        _last = now
    logger.info("%s/%s %s", done, total, unit, extra={"done": done, "total": total, "unit": unit})


def progress_of(record: logging.LogRecord) -> Progress:
    """What a record of `report` says."""
    extra: dict[str, Any] = vars(record)
    return Progress(extra["done"], extra["total"], extra["unit"])
