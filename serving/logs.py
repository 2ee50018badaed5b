"""The server's log: a file that is put aside when it is full, and lines that don't repeat."""

import logging
import os
import threading
import time
from collections.abc import Callable
from logging.handlers import RotatingFileHandler
from pathlib import Path

_FORMAT = "%(asctime)s %(levelname)s %(name)s: %(message)s"


class _FollowedFile(RotatingFileHandler):
    """A rotating file that stdout and stderr follow too: TensorFlow writes past Python's logging.

    A file that somebody else moved away is opened anew, as logrotate without copytruncate needs.
    """

    def shouldRollover(self, record: logging.LogRecord) -> bool:
        if self.stream is not None and not self._is_there():
            self.stream.close()
            self.stream = self._open()
            self._follow()
        return bool(super().shouldRollover(record))

    def doRollover(self) -> None:
        super().doRollover()
        if self.stream is None:
            self.stream = self._open()
        self._follow()

    def look(self) -> None:
        """Puts the file aside if it is full of what others wrote into it."""
        self.acquire()
        try:
            if self.shouldRollover(logging.makeLogRecord({})):
                self.doRollover()
        finally:
            self.release()

    def _is_there(self) -> bool:
        try:
            return os.path.samestat(os.stat(self.baseFilename), os.fstat(self._descriptor()))
        except FileNotFoundError:
            return False

    def _follow(self) -> None:
        for descriptor in (1, 2):
            os.dup2(self._descriptor(), descriptor)

    def _descriptor(self) -> int:
        assert self.stream is not None  # open from the beginning, as `delay` isn't given
        return self.stream.fileno()


def start(log: Path | None, max_bytes: int, backups: int, look_seconds: float = 5.0) -> None:
    """Sends this process's log to a file that stdout and stderr go to already, or to stderr.

    Args:
        log: the file; None for stderr.
        max_bytes: its largest size; 0: it only grows.
        backups: how many full ones are kept, as .1, .2 and so on.
        look_seconds: between two looks at the file's size; damaged images make libraries write.
    """
    handler: logging.Handler = logging.StreamHandler()
    if log is not None:
        file = _FollowedFile(log, maxBytes=max_bytes, backupCount=backups, encoding="utf-8")
        handler = file

        def watch() -> None:
            while True:
                time.sleep(look_seconds)
                file.look()

        threading.Thread(target=watch, name="log", daemon=True).start()
    handler.setFormatter(logging.Formatter(_FORMAT))
    logging.basicConfig(level=logging.INFO, handlers=[handler])


class Seldom(logging.Filter):
    """Lets a message through once in a while, with how often it would have been there."""

    def __init__(self, seconds: float = 60.0, now: Callable[[], float] = time.monotonic):
        super().__init__()
        self._seconds, self._now = seconds, now
        self._last: dict[str, float] = {}
        self._dropped: dict[str, int] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        """Only warnings: errors are ours, what is below comes once anyhow."""
        if record.levelno != logging.WARNING:
            return True
        text, now = str(record.msg), self._now()  # before its arguments: few, whoever asks
        if now - self._last.get(text, -self._seconds) < self._seconds:
            self._dropped[text] = self._dropped.get(text, 0) + 1
            return False
        self._last[text] = now
        if dropped := self._dropped.pop(text, 0):
            record.msg = f"{text} (and {dropped} times before)"
        return True
