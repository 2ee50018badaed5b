"""A serving root's versions, for the terminal."""

from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from components.publish.models import Version, versions_of


def show_versions(model_dir: Path, console: Console | None = None) -> None:
    """Prints a model's versions, newest first."""
    console = console or Console()
    table = Table()
    for heading in ("version", "labels", "state", "pushed", "mean AUC"):
        table.add_column(heading, no_wrap=heading != "state")
    for version in versions_of(model_dir):
        table.add_row(
            str(version.number),
            ", ".join(version.labels) + (" (pinned)" if version.pinned else ""),
            f"[red]damaged[/]: {escape(version.problems[0])}" if version.problems else "whole",
            f"{version.pushed:%Y-%m-%d %H:%M}" if version.pushed else "–",
            _auc(version),
        )
    console.print(str(model_dir), soft_wrap=True)
    console.print(table)


def _auc(version: Version) -> str:
    if version.mean_auc is None:
        return "–"
    return f"{version.mean_auc:.3f}{' synthetic' if version.synthetic else ''}"
