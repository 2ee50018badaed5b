"""Runs one version at a time in a process of its own, as `python -m` with a socket's number.

TensorFlow's threads belong to the whole process: only in one of its own can a version's work have
the lowest priority, so that it uses what the server leaves of the processors.
"""

import os
import signal
import sys
import time
from multiprocessing.connection import Connection
from pathlib import Path
from typing import TYPE_CHECKING

from cxrflow.schema.errors import CxrflowError
from cxrflow.schema.lean import lean_import
from cxrflow.schema.store.manifest import verify
from cxrflow.serving.shadow.messages import Ask, Said
from cxrflow.serving.status import StatusError

if TYPE_CHECKING:
    from cxrflow.serving.servable import Servable

_LOWEST = 19  # niceness


class _Loaded:
    """The version that was asked last."""

    def __init__(self) -> None:
        self._folder: Path | None = None
        self._servable: Servable | None = None

    def answer(self, ask: Ask) -> Said:
        """Loads the version if it is another one, and asks it."""
        try:
            servable = self._of(ask)
            there = servable.signatures[ask.signature].outputs
            outputs = [name for name in ask.outputs if name in there]
            started = time.monotonic()
            values = servable.run(ask.signature, ask.inputs, outputs)
            return Said(values, time.monotonic() - started)
        except (CxrflowError, StatusError, KeyError, ValueError, OSError) as error:
            return Said({}, 0.0, str(error) or repr(error))

    def _of(self, ask: Ask) -> "Servable":
        if self._servable is None or ask.folder != self._folder:
            if self._servable is not None:
                self._servable.close()
                self._servable = None
            if problems := verify(ask.folder):
                raise CxrflowError("; ".join(problems[:3]))
            with lean_import():
                from cxrflow.serving.servable import Servable
            servable = Servable(ask.folder)
            servable.warm_up(ask.folder, [1], ask.max_bytes)
            self._folder, self._servable = ask.folder, servable
        return self._servable


def main(descriptor: int, niceness: int) -> None:
    """Answers until the other end of the socket is closed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the server's, which ends this process
    os.nice(niceness)
    if niceness == _LOWEST and hasattr(os, "SCHED_IDLE"):  # no thread waits a slice
        os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))
    loaded = _Loaded()
    with Connection(descriptor) as server:
        while True:
            try:
                ask = server.recv()
            except (EOFError, OSError):
                return
            server.send(loaded.answer(ask))


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
