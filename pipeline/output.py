"""What is printed fits the terminal at hand: its width, what it can show, and NO_COLOR."""

import os
from typing import IO, Any

from rich.box import SIMPLE_HEAD
from rich.console import Console, ConsoleDimensions
from rich.measure import Measurement
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

_UNBOUNDED = 10_000  # columns


class _Console(Console):
    """Asks its own stream for the width: Rich asks stdin, and takes 80 for a dumb terminal."""

    @property  # type: ignore[misc]  # Rich's has a setter, which nobody uses here
    def size(self) -> ConsoleDimensions:
        try:
            size = os.get_terminal_size(self.file.fileno())
        except (OSError, ValueError):  # no terminal, or no file at all
            size = os.terminal_size((0, 0))
        asked = os.environ.get("COLUMNS", "")
        columns = int(asked) if asked.isdigit() else size.columns
        return ConsoleDimensions(columns or 80, size.lines or 25)


def console_on(stream: IO[str]) -> Console:
    """A console that writes to `stream` in its width; NO_COLOR means no styles either."""
    return _Console(file=stream, color_system=None if os.environ.get("NO_COLOR") else "auto")


def at_least(console: Console) -> str:
    """The sign ≥ in what the console can show; in tables, where a replacement would be wider."""
    return ">=" if console.options.ascii_only else "≥"


def print_table(console: Console, table: Table) -> None:
    """Prints a table; where the console is too narrow for its columns, row after row instead."""
    table.box, table.show_edge = SIMPLE_HEAD, False  # a frame costs lines and says nothing
    unbounded = console.options.update(max_width=_UNBOUNDED)
    if Measurement.get(console, unbounded, table).minimum <= console.width:
        console.print(table)
        return
    if table.title:
        console.print(table.title, style="table.title")
    headings = [str(column.header) for column in table.columns]
    for first, *rest in zip(*(list(column.cells) for column in table.columns), strict=True):
        console.print(_cell(first), style="bold")
        cells = [(heading, _cell(cell)) for heading, cell in zip(headings[1:], rest, strict=True)]
        parts = [Text.assemble(heading, " " * bool(heading), t) for heading, t in cells if t.plain]
        console.print(Padding(Text(", ").join(parts), (0, 0, 0, 2)))


def say(console: Console, line: str, markup: bool = False) -> None:
    """Prints a line of prose: at words on a terminal, unbroken into files and pipes."""
    console.print(line, soft_wrap=not console.is_terminal, markup=markup)


def say_as_is(console: Console, line: str) -> None:
    """Prints a path or a command, unbroken, so that it can be copied."""
    console.print(line, soft_wrap=True, markup=False, highlight=False)


def _cell(cell: Any) -> Text:
    return cell if isinstance(cell, Text) else Text.from_markup(str(cell))
