"""A serving root's versions, for the terminal."""

from pathlib import Path

from rich.console import Console
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

from components.publish.models import Version, versions_of
from schema.text import visible

_HEADINGS = ("version", "labels", "state", "pushed", "mean AUC")


def show_versions(model_dir: Path, console: Console | None = None) -> None:
    """Prints a model's versions, newest first; below each other where a table has no room."""
    console = console or Console()
    table = Table()
    for heading in _HEADINGS:
        table.add_column(heading, no_wrap=heading != "state")
    rows = [_cells(version) for version in versions_of(model_dir)]
    for row in rows:
        table.add_row(*row)
    console.print(Text(visible(str(model_dir))), soft_wrap=True)
    wide = console.options.update(width=10_000)
    if Measurement.get(console, wide, table).minimum <= console.width:
        console.print(table)
        return
    for row in rows:
        filled = [(name, cell) for name, cell in zip(_HEADINGS, row, strict=True) if cell.plain]
        console.print(Text("\n  ").join(Text.assemble(name, " ", cell) for name, cell in filled))


def _cells(version: Version) -> list[Text]:
    """A row of the table, in the headings' order."""
    state = Text("whole")
    if version.problems:
        state = Text.assemble(("damaged", "red"), ": ", visible(version.problems[0]))
    labels = ", ".join(version.labels) + (" (pinned)" if version.pinned else "")
    pushed = f"{version.pushed:%Y-%m-%d %H:%M}" if version.pushed else "–"
    return [Text(str(version.number)), Text(labels), state, Text(pushed), Text(_auc(version))]


def _auc(version: Version) -> str:
    if version.mean_auc is None:
        return "–"
    return f"{version.mean_auc:.3f}{' synthetic' if version.synthetic else ''}"
