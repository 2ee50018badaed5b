"""The terminal during a run: which node runs, how far it is, and nothing else."""

import logging
import os
import re
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

# What LocalDagRunner and BeamDagRunner log as they launch nodes.
_RUNNING = re.compile(r"(?:Component|node) (\S+) is running")
_FINISHED = re.compile(r"(?:Component|node) (\S+) is finished")
_CACHED = re.compile(r"A cached execution \d+ is used")


@contextmanager
def redirected_to(log: Path) -> Iterator[Console]:
    """Sends stdout and stderr of this process and its children to `log`; yields the terminal.

    Works on file descriptors, since TensorFlow and MLMD write past Python's sys.stderr.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    sys.stdout.flush()
    sys.stderr.flush()
    saved_out, saved_err = os.dup(1), os.dup(2)
    terminal = os.fdopen(os.dup(saved_out), "w", encoding="utf-8", buffering=1)
    with log.open("a") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    try:
        yield Console(file=terminal)
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os.dup2(saved_out, 1)
        os.dup2(saved_err, 2)
        os.close(saved_out)
        os.close(saved_err)
        terminal.close()


@contextmanager
def progress_bar(name: str, console: Console | None = None) -> Iterator[None]:
    """Draws components.progress as one bar while the block runs; nothing if it reports nothing."""
    with _progress(console or Console(stderr=True)) as progress:
        handler = _Bar(progress, name)
        logger = logging.getLogger("cxrflow.progress")
        logger.addHandler(handler)
        try:
            yield
        finally:
            logger.removeHandler(handler)


def _progress(console: Console) -> Progress:
    return Progress(
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(bar_width=30),
        TextColumn("{task.fields[count]}"),
        TimeElapsedColumn(),
        console=console,
        transient=True,
        disable=not console.is_terminal,
    )


class _Bar(logging.Handler):
    """One live bar, moved by records of components.progress."""

    def __init__(self, progress: Progress, name: str) -> None:
        super().__init__()
        self._progress = progress
        self._task = progress.add_task(name, total=None, count="", visible=False)

    def emit(self, record: logging.LogRecord) -> None:
        count = f"{record.done:,}" + (f"/{record.total:,}" if record.total else "")
        self._progress.update(
            self._task,
            completed=record.done,
            total=record.total,
            count=f"{count} {record.unit}",
            visible=True,
        )

    def begin(self, name: str) -> None:
        self._progress.reset(self._task, description=name, total=None, count="", visible=True)

    def end(self) -> None:
        self._progress.update(self._task, visible=False)


class NodeDisplay(logging.Handler):
    """Draws TFX's nodes from log records: a line per finished node, a live bar for the running."""

    def __init__(self, console: Console, nodes: int) -> None:
        super().__init__()
        self.executed: list[str] = []  # ids of nodes that ran to their end and weren't cached
        self.cached: list[str] = []
        self._console = console
        self._nodes = nodes
        self._node: str | None = None
        self._is_cached = False
        self._started = 0.0
        self._progress = _progress(console)
        self._bar = _Bar(self._progress, "")

    def emit(self, record: logging.LogRecord) -> None:
        if hasattr(record, "done"):
            self._bar.emit(record)
            return
        message = record.getMessage()
        if match := _RUNNING.search(message):
            self._start(match[1])
        elif _CACHED.search(message):
            self._is_cached = True
        elif _FINISHED.search(message):
            self._finish()

    @contextmanager
    def attached(self) -> Iterator[None]:
        """Listens to TFX and to our own progress while the block runs."""
        loggers = [logging.getLogger("absl"), logging.getLogger("cxrflow.progress")]
        for logger in loggers:
            logger.addHandler(self)
        try:
            with self._progress:
                yield
        finally:
            for logger in loggers:
                logger.removeHandler(self)
            if self._node:
                self._line("[red]✗[/]", "stopped")

    def _start(self, node: str) -> None:
        self._node, self._is_cached, self._started = node, False, time.monotonic()
        self._bar.begin(node)

    def _finish(self) -> None:
        if self._node is None:
            return
        if self._is_cached:
            self.cached.append(self._node)
            self._line("[dim]=[/]", "unchanged, taken from an earlier run")
        else:
            self.executed.append(self._node)
            self._line("[green]✓[/]", f"{time.monotonic() - self._started:6.1f} s")
        self._node = None
        self._bar.end()

    def _line(self, mark: str, text: str) -> None:
        index = len(self.executed) + len(self.cached) + (mark == "[red]✗[/]")
        self._console.print(f"{mark} {index:2}/{self._nodes} {self._node or '':22} {text}")
