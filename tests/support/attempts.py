"""Workers that are stopped in the middle of a shard, and what they leave behind."""

import os
import signal
import threading
import time
from concurrent.futures import Future
from pathlib import Path
from typing import Any

from cxrflow.components.ingest import executor

_NOTES = "stopped"  # a folder of the root, with a file for each shard that was stopped


class _Disturbed(executor._WriteShard):
    """Does something when half of a shard's images are written."""

    def process(self, shard: Any) -> None:
        read, half = self._read, shard.rows[shard.count // 2]["path"]

        def reading(path: str, limit: Any) -> Any:
            if path == half:
                self.half_way(Path(self._shards.folder), shard.name)
            return read(path, limit)

        self._read = reading
        try:
            super().process(shard)
        finally:
            self._read = read

    def half_way(self, folder: Path, name: str) -> None:
        raise NotImplementedError


class _StoppedOnce(_Disturbed):
    """Stops the first attempts at some shards; Beam tries a bundle four times."""

    most = 3

    def half_way(self, folder: Path, name: str) -> None:
        notes = folder.parents[3] / _NOTES  # beside ImageExampleGen/examples/unfinished/…
        notes.mkdir(exist_ok=True)
        note = notes / name.replace("/", "-")
        if not note.exists() and len([*notes.iterdir()]) < self.most:
            note.touch()
            self.stop()

    def stop(self) -> None:
        raise NotImplementedError


class Breaking(_StoppedOnce):
    """By an error."""

    def stop(self) -> None:
        raise OSError("the network was away")


class Dying(_StoppedOnce):
    """By killing its process."""

    def stop(self) -> None:
        os.kill(os.getpid(), signal.SIGKILL)


class Meeting(_Disturbed):
    """Goes on when another attempt at the same shard is as far."""

    barrier = threading.Barrier(2, timeout=60)

    def half_way(self, folder: Path, name: str) -> None:
        self.barrier.wait()


def stopped(root: Path) -> set[str]:
    """The shards that were stopped once."""
    return {path.name for path in (root / _NOTES).glob("*")}


def wait_for_stop(root: Path, run: Future[Any]) -> None:
    """Until a worker of the run has been stopped there.

    Raises:
        AssertionError: the run ended without.
    """
    while not stopped(root):
        if run.done():
            raise AssertionError("no worker was stopped") from run.exception()
        time.sleep(0.05)
