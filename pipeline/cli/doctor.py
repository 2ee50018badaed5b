"""`cxrflow doctor`: looks whether this machine has what the commands need."""

from pathlib import Path
from typing import Annotated

import typer

from cxrflow.pipeline.cli.app import Overrides, app, complete_profile, examples


@app.command(epilog=examples("cxrflow doctor", "cxrflow doctor --quick --profile nih"))
def doctor(
    runs: Annotated[Path, typer.Option(help="Folder in which runs are to be written.")] = Path(
        "runs"
    ),
    quick: Annotated[
        bool, typer.Option("--quick", help="Don't start TensorFlow, which takes up to a minute.")
    ] = False,
    profile: Annotated[
        str | None,
        typer.Option(help="What is to be run; default: the demo.", autocompletion=complete_profile),
    ] = None,
    set_: Overrides = None,
) -> None:
    """Look whether this machine has what the commands need, and say what to do where it hasn't.

    Exit code 0: yes, with notes on what only some commands need; 1: something is missing.
    """
    from rich.console import Console
    from rich.markup import escape

    from cxrflow.pipeline import config
    from cxrflow.pipeline.doctor import examine

    settings = config.load(profile, set_ or ()) if profile or set_ else None
    console = Console()
    marks = {"ok": "[green]ok[/]     ", "note": "[yellow]note[/]   ", "problem": "[red]problem[/]"}
    problems = 0
    for finding in examine(runs, not quick, profile, settings):
        problems += finding.status == "problem"
        console.print(
            f"{marks[finding.status]} {finding.name}: {escape(finding.text)}",
            soft_wrap=True,
            highlight=False,
        )
    if problems:
        raise typer.Exit(1)
