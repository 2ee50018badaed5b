"""`cxrflow compile` and `cxrflow node`: the pipeline for an orchestrator that runs commands."""

from pathlib import Path
from typing import Annotated

import typer

from cxrflow.pipeline.cli.app import Overrides, Root, app, complete_profile, examples


@app.command(
    "compile",
    epilog=examples(
        "cxrflow compile --profile nih --data /data/nih --root /shared/run1",
        "cxrflow compile --profile demo --root runs/demo --output pipeline.json",
        "cxrflow compile --profile nih --data /shared/nih --root /shared/run1 --engine slurm",
    ),
)
def compile_(
    profile: Annotated[
        str,
        typer.Option(help="A profile's name, or a YAML file.", autocompletion=complete_profile),
    ] = "demo",
    data: Annotated[
        Path | None,
        typer.Option(help="Folder with X-rays in Kaggle's layout; demo makes its own."),
    ] = None,
    root: Root = None,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="File to write; default: ROOT/pipeline.json."),
    ] = None,
    engine: Annotated[
        str,
        typer.Option(help="slurm, kubernetes or kubeflow: also write what that one takes."),
    ] = "",
    run_id: Annotated[
        str,
        typer.Option(
            help="Of the run, for kubernetes (default: the time) and kubeflow (its own run's id)."
        ),
    ] = "",
    set_: Overrides = None,
) -> None:
    """Write the pipeline to a file, from which `cxrflow node` runs one node on any machine.

    Root, data and file have to lie at the same paths on all of them. For Airflow, this file is all
    that pipeline/runners/airflow.py needs.
    """
    from cxrflow.pipeline import config as settings
    from cxrflow.pipeline.nodes import compile_pipeline
    from cxrflow.pipeline.runners import clusters

    clusters.require(engine, run_id)
    config = settings.load(profile, set_ or [], data)
    folder = root or settings.run_folder(profile)
    file = output or folder / "pipeline.json"
    clusters.require_visible(engine, config.cluster, folder, file, data)
    graph = compile_pipeline(config, data, folder, file)
    typer.echo(f"{file}: {len(graph.upstream)} nodes")
    for command in clusters.write(engine, graph, config.cluster, file.resolve(), run_id):
        typer.echo(command)


@app.command(
    epilog=examples(
        "cxrflow node --pipeline /shared/run1/pipeline.json --run-id 2026-11-26 RecipeCheck",
        "cxrflow node --pipeline pipeline.json --run-id 7 --verbose Trainer.lse",
    )
)
def node(
    name: Annotated[str, typer.Argument(metavar="NODE", help="The node's id.", show_default=False)],
    pipeline: Annotated[Path, typer.Option(help="File of `cxrflow compile`.", show_default=False)],
    run_id: Annotated[
        str, typer.Option(help="Of the run: the same for all of its nodes.", show_default=False)
    ],
    root: Annotated[
        Path | None,
        typer.Option(help="Where this machine sees the run's folder; default: as compiled."),
    ] = None,
    quiet: Annotated[bool, typer.Option("--quiet", help="Print nothing.")] = False,
    verbose: Annotated[
        bool, typer.Option("--verbose", help="Show the log on the terminal as well.")
    ] = False,
) -> None:
    """Run one node of a compiled pipeline; the nodes before it have to be finished.

    Whoever finishes last writes the run's record, which `cxrflow dashboard` and others read. The
    same command goes on where a node was stopped, and does nothing where it is done.
    """
    from cxrflow.pipeline.nodes import run_node
    from cxrflow.schema.errors import CxrflowError

    if quiet and verbose:
        raise CxrflowError("--quiet and --verbose: give one of them")
    run_node(pipeline, run_id, name, root, "nothing" if quiet else "log" if verbose else "steps")
