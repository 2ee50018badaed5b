"""The terminal during a run: which node runs, how far it is, and nothing else."""

import logging
import os
import re
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import IO, Literal

from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Column, Table
from rich.text import Text

import cxrflow.schema.text  # noqa: F401 (it registers the error handler `cxrflow`)
from cxrflow.pipeline.output import console_on
from cxrflow.pipeline.pace import Pace
from cxrflow.schema.errors import CxrflowError
from cxrflow.schema.progress import progress_of

# What LocalDagRunner and BeamDagRunner log as they launch nodes.
_RUNNING = re.compile(r"(?:Component|node) (\S+) is running")
_FINISHED = re.compile(r"(?:Component|node) (\S+) is finished")
_CACHED = re.compile(r"A cached execution \d+ is used")
_ROOM_FOR_BAR = 70  # columns

# What of a command is shown while it works: its steps, nothing, or the log as well.
Shown = Literal["steps", "nothing", "log"]


@contextmanager
def redirected_to(log: Path, shown: Shown = "steps") -> Iterator[Console]:
    """Sends stdout and stderr of this process and its children to `log`; yields the terminal.

    Works on file descriptors, since TensorFlow and MLMD write past Python's sys.stderr.

    Raises:
        CxrflowError: the log can't be written.
    """
    try:
        log.parent.mkdir(parents=True, exist_ok=True)
        file = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666)
    except OSError as error:
        raise CxrflowError(f"the log {log} can't be written ({error.strerror or error})") from error
    sys.stdout.flush()
    sys.stderr.flush()
    saved_out, saved_err = os.dup(1), os.dup(2)
    encoding = getattr(sys.stdout, "encoding", None) or "utf-8"
    terminal = os.fdopen(os.dup(saved_out), "w", encoding=encoding, errors="cxrflow", buffering=1)
    console = console_on(terminal)
    console.quiet = shown == "nothing"
    os.dup2(file, 1)
    os.dup2(file, 2)
    os.close(file)
    try:
        with _followed(log, terminal) if shown == "log" else nullcontext():
            yield console
    finally:
        _flush_to_log()
        os.dup2(saved_out, 1)
        os.dup2(saved_err, 2)
        os.close(saved_out)
        os.close(saved_err)
        terminal.close()


def _flush_to_log() -> None:
    """Empties Python's buffers; on a full disk to nowhere, or the terminal would get them."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except OSError:
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, stream.fileno())
            os.close(nowhere)
            stream.flush()


@contextmanager
def _followed(log: Path, terminal: IO[str]) -> Iterator[None]:
    """Copies what is appended to the log to the terminal, until the block ends."""
    ended = threading.Event()
    lines = log.open(encoding="utf-8", errors="replace")
    lines.seek(0, os.SEEK_END)

    def copy() -> None:
        last = False
        while not last:
            last = ended.wait(0.1)
            terminal.write(lines.read())
            terminal.flush()

    thread = threading.Thread(target=copy, daemon=True)
    thread.start()
    try:
        yield
    finally:
        _flush_to_log()
        ended.set()
        thread.join()
        lines.close()


@contextmanager
def progress_bar(
    name: str, console: Console | None = None, at_once: bool = False
) -> Iterator[None]:
    """Draws schema.progress as one bar while the block runs.

    Without a report it draws nothing, or at_once a line that something goes on.
    """
    with _bar(console or console_on(sys.stderr)) as bar:
        bar.begin(name, visible=at_once)
        logger = logging.getLogger("cxrflow.progress")
        logger.addHandler(bar)
        try:
            yield
        finally:
            logger.removeHandler(bar)


class _Bar(logging.Handler):
    """One live bar, moved by records of schema.progress."""

    def __init__(self, progress: Progress) -> None:
        super().__init__()
        self._progress = progress
        self._pace = Pace()
        self._task = progress.add_task("", total=None, count="", visible=False)

    def emit(self, record: logging.LogRecord) -> None:
        self._progress.update(
            self._task,
            completed=progress_of(record).done,
            total=progress_of(record).total,
            count=self._pace.words(record),
            visible=True,
        )

    def begin(self, name: str, visible: bool = True) -> None:
        self._progress.reset(self._task, description=name, total=None, count="", visible=visible)

    def end(self) -> None:
        self._progress.update(self._task, visible=False)


class _PlainBar(logging.Handler):
    """Shows progress as one line of text that is written over itself, without an escape code."""

    def __init__(self, console: Console) -> None:
        super().__init__()
        self._console = console
        self._pace = Pace()
        self._name = ""
        self._shown = 0  # characters on the line

    def emit(self, record: logging.LogRecord) -> None:
        self._show(f"  {self._name} {self._pace.words(record)}")

    def begin(self, name: str, visible: bool = True) -> None:
        self._name = name
        if visible:
            self._show(f"  {name}")

    def end(self) -> None:
        if self._shown:
            self._show("")
            self._console.file.write("\r")
            self._console.file.flush()

    def _show(self, text: str) -> None:
        text = text[: self._console.width - 1]
        self._console.file.write(f"\r{text:{self._shown}}")
        self._console.file.flush()
        self._shown = len(text)


@contextmanager
def _bar(console: Console) -> Iterator[_Bar | _PlainBar]:
    """The bar that the console can show; one that shows nothing where that is no terminal."""
    is_shown = console.is_terminal and not console.is_dumb_terminal and not console.quiet
    if is_shown and console.color_system is None:
        plain = _PlainBar(console)
        try:
            yield plain
        finally:
            plain.end()
        return
    one_line = Column(no_wrap=True, overflow="ellipsis")
    progress = Progress(
        SpinnerColumn("line" if console.options.ascii_only else "dots"),
        TextColumn("{task.description}", table_column=one_line, markup=False),
        *([BarColumn(bar_width=30)] if console.width >= _ROOM_FOR_BAR else []),
        TextColumn("{task.fields[count]}", table_column=one_line, markup=False),
        TimeElapsedColumn(table_column=one_line),
        console=console,
        transient=True,
        disable=not is_shown,
        # Else a library that keeps sys.stderr, as absl does, would write to the terminal for good.
        redirect_stdout=False,
        redirect_stderr=False,
    )
    with progress:
        yield _Bar(progress)


class NodeDisplay(logging.Handler):
    """Draws TFX's nodes from log records: a line per finished node, a live bar for the running."""

    def __init__(self, console: Console, nodes: Sequence[str]) -> None:
        super().__init__()
        self._console = console
        self._nodes = nodes
        self._width = max(map(len, nodes), default=0)
        self._done = 0
        self._unchanged: list[str] = []  # not shown yet
        self._running: dict[str, float] = {}  # nodes, and when they began
        self._is_cached = False
        self._bar: _Bar | _PlainBar | None = None  # while it is attached

    def emit(self, record: logging.LogRecord) -> None:
        if hasattr(record, "done"):
            if self._bar:
                self._bar.emit(record)
            return
        message = record.getMessage()
        if match := _RUNNING.search(message):
            self._is_cached = False
            self.begin(match[1])
        elif _CACHED.search(message):
            self._is_cached = True
        elif (match := _FINISHED.search(message)) and match[1] in self._running:
            self.end(match[1], self._is_cached)

    @contextmanager
    def attached(self) -> Iterator[None]:
        """Listens to TFX and to our own progress while the block runs."""
        loggers = [logging.getLogger("absl"), logging.getLogger("cxrflow.progress")]
        for logger in loggers:
            logger.addHandler(self)
        try:
            with _bar(self._console) as self._bar:
                yield
        finally:
            self._bar = None
            for logger in loggers:
                logger.removeHandler(self)
            for node in self._running:
                self._line("✗", "red", node, "stopped")
            self._show_unchanged()

    def begin(self, node: str) -> None:
        """A node runs, perhaps beside others."""
        self._running[node] = time.monotonic()
        self._name_running()

    def end(self, node: str, cached: bool = False, failed: bool = False) -> None:
        """A node that ran is through."""
        took = time.monotonic() - self._running.pop(node)
        self._name_running()
        if failed:
            self._line("✗", "red", node, "stopped")
        elif cached:
            self._unchanged.append(node)
        else:
            self._line("✓", "green", node, f"{took:6.1f} s")

    def _name_running(self) -> None:
        if self._bar and self._running:
            self._bar.begin(", ".join(self._running))
        elif self._bar:
            self._bar.end()

    def _show_unchanged(self) -> None:
        """Nodes in a row that are taken from an earlier run share a line."""
        nodes, self._unchanged = self._unchanged, []
        if len(nodes) == 1:
            self._line("=", "dim", nodes[0], "unchanged, taken from an earlier run")
        if len(nodes) < 2:
            return
        first, self._done = self._done + 1, self._done + len(nodes)
        count = Text.assemble(("=", "dim"), f" {first:2}-{self._done}/{len(self._nodes)} ")
        text = f"unchanged, taken from an earlier run: {', '.join(nodes)}"
        if self._console.is_terminal:
            line = Table.grid()
            line.add_row(count, text)
            self._console.print(line, highlight=False)
        else:
            self._console.print(count + text, soft_wrap=True)

    def _line(self, mark: str, style: str, node: str, text: str) -> None:
        self._show_unchanged()
        self._done += 1
        count = f" {self._done:2}/{len(self._nodes)} "
        width = self._width
        if self._console.is_terminal:
            room = self._console.width - len(mark + count) - 1
            if width + len(text) > room:
                text = text.partition(",")[0].strip()
            width = min(width, room - len(text))
        if len(node) > width > 0:
            node = f"{node[: width - 1]}…"
        line = Text.assemble((mark, style), f"{count}{node:{max(width, 0)}} {text}")
        self._console.print(line, no_wrap=True, overflow="ignore", crop=False)
