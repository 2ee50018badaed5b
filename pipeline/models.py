"""A serving root's versions, for the terminal."""

from pathlib import Path

from rich.console import Console
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

from cxrflow.components.publish.models import Version, find_model, versions_of
from cxrflow.pipeline.streams import say
from cxrflow.schema.errors import CxrflowError
from cxrflow.schema.store.load_record import await_served
from cxrflow.schema.store.versions import list_models, list_versions, serving_root
from cxrflow.schema.text import visible

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


def named_versions(root: Path, name: str = "", version: int | None = None) -> list[Path]:
    """Folders of the versions that are meant, newest first: one, all of a model, or all there are.

    Raises:
        CxrflowError: there is no such model or version.
    """
    models = list_models(serving_root(root))
    if name or not models:
        folders = [find_model(root, name)]
    else:
        folders = [serving_root(root) / model for model in models]
    found = [folder / str(n) for folder in folders for n in reversed(list_versions(folder))]
    if version is None:
        return found
    chosen = [folder for folder in found if folder.name == str(version)]
    if not chosen:
        there = ", ".join(folder.name for folder in found)
        raise CxrflowError(f"there is no version {version} in {folders[0]}, only {there}")
    return chosen


def _cells(version: Version) -> list[Text]:
    """A row of the table, in the headings' order."""
    state = Text("whole")
    if version.problems:
        state = Text.assemble(("damaged", "red"), ": ", visible(version.problems[0]))
    elif version.server:
        word, _, reason = version.server.partition(": ")
        style = "red" if reason else "green"
        state.append(", ").append(word, style).append(visible(f": {reason}" if reason else ""))
    labels = ", ".join(version.labels) + (" (pinned)" if version.pinned else "")
    pushed = f"{version.pushed:%Y-%m-%d %H:%M}" if version.pushed else "–"
    return [Text(str(version.number)), Text(labels), state, Text(pushed), Text(_auc(version))]


def _auc(version: Version) -> str:
    if version.mean_auc is None:
        return "–"
    return f"{version.mean_auc:.3f}{' synthetic' if version.synthetic else ''}"


def say_served(model_dir: Path, label: str, version: int, seconds: float) -> bool:
    """Waits for the running server to take a version over, and says what became of it.

    Args:
        model_dir: `<serving root>/<model name>`.
        label: that was moved.
        version: that has it now.
        seconds: at most waited; 0: not at all.

    Returns:
        Whether all is well: it is served, or there is no server here that could.
    """
    reason = await_served(model_dir, label, version, seconds)
    if reason:
        say(f"the server hasn't taken it over: {reason}")
    elif reason is None:
        say("no server of this model runs on this machine")
    else:
        say(f"version {version} is served since now")
    return not reason
