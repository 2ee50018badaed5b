"""`cxrflow runs`: finished runs."""

import math
from pathlib import Path
from typing import Annotated

import typer

from cxrflow.pipeline.cli.app import examples, runs


@runs.command("list", epilog=examples("cxrflow runs list", "cxrflow runs list /big/runs"))
def list_runs(
    folder: Annotated[
        Path, typer.Argument(help="Folder of runs, or one run.", file_okay=False)
    ] = Path("runs"),
) -> None:
    """Show the finished runs of a folder: when, how good, what the gate said, what was pushed."""
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    from cxrflow.pipeline.reports.runs import find_runs

    console, table, synthetic = Console(), Table(), False
    for heading in ("run", "finished", "models", "mean test AUC", "gate", "pushed", "took"):
        table.add_column(heading, overflow="fold")
    for run in find_runs(folder):
        name = escape(str(run.folder))
        if run.problem:
            table.add_row(name, f"{run.finished:%Y-%m-%d %H:%M}", "", "", escape(run.problem))
            continue
        synthetic |= run.synthetic
        auc = "–" if math.isnan(run.mean_auc) else f"{run.mean_auc:.3f}"
        table.add_row(
            name,
            f"{run.finished:%Y-%m-%d %H:%M}",
            str(run.models),
            f"{auc} synthetic" if run.synthetic else auc,
            "[green]blessed[/]" if run.blessed else "[red]not blessed[/]",
            run.pushed or "–",
            f"{run.seconds:.0f} s",
        )
    if not table.rows:
        console.print(f"no finished run in {folder}", markup=False, soft_wrap=True)
        return
    console.print(table)
    if synthetic:
        console.print("synthetic X-rays: these figures say nothing about real ones")
