"""`cxrflow run` and `cxrflow study`."""

from pathlib import Path
from typing import Annotated

import typer

from cxrflow.pipeline.cli.app import Overrides, Root, app, complete_profile, examples
from cxrflow.schema.errors import CxrflowError


@app.command(
    epilog=examples(
        "cxrflow run --profile demo",
        "cxrflow run --profile nih --data /data/nih --set train.epochs=3",
        "cxrflow run --profile my.yaml --data /data/nih --root /big/run1 --engine beam",
        "cxrflow run --profile demo --jobs 2",
        "cxrflow run --profile demo --json > run.json",
    )
)
def run(
    profile: Annotated[
        str,
        typer.Option(
            help="demo, own, nih_mini, nih_sample, nih_baseline, nih, or a YAML file.",
            autocompletion=complete_profile,
        ),
    ] = "demo",
    data: Annotated[
        Path | None,
        typer.Option(
            help="Folder with X-rays: Kaggle's layout, or what its data.yaml describes; demo makes "
            "its own."
        ),
    ] = None,
    root: Root = None,
    engine: Annotated[
        str, typer.Option(help="local (TFX's LocalDagRunner) or beam (BeamDagRunner).")
    ] = "local",
    jobs: Annotated[
        int,
        typer.Option(min=1, help="Nodes that may run at the same time; each takes memory."),
    ] = 1,
    set_: Overrides = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print the run's record as JSON and nothing else.")
    ] = False,
    quiet: Annotated[bool, typer.Option("--quiet", help="Print the gate's verdict alone.")] = False,
    verbose: Annotated[
        bool, typer.Option("--verbose", help="Show the log on the terminal as well.")
    ] = False,
) -> None:
    """Run the pipeline: ingest, validate, transform, train, evaluate, gate, push."""
    from cxrflow.pipeline import config as settings
    from cxrflow.pipeline import run as runs
    from cxrflow.pipeline.reports import summary
    from cxrflow.pipeline.terminal import Shown
    from cxrflow.schema.commands import command_line

    if engine not in runs.ENGINES:
        raise CxrflowError(f"--engine {engine}: name one of {', '.join(runs.ENGINES)}")
    if jobs > 1 and engine != "local":
        raise CxrflowError(f"--jobs goes with --engine local: {engine} runs one node at a time")
    if as_json + quiet + verbose > 1:
        raise CxrflowError("--json, --quiet and --verbose: give one of them")
    config = settings.load(profile, set_ or [], data)
    folder = root or settings.run_folder(profile)
    shown: Shown = "nothing" if as_json or quiet else "log" if verbose else "steps"
    finished = runs.run_pipeline(config, data, folder, engine, shown, jobs)
    if as_json:
        print(summary.as_json(finished, folder))
    elif quiet:
        summary.show_verdict(finished)
    else:
        again = ["run", "--profile", profile, *(["--data", data] if data else []), "--root", folder]
        again += [part for change in set_ or [] for part in ("--set", change)]
        summary.show(finished, folder, again=command_line(*again))


@app.command(
    epilog=examples(
        "cxrflow study --profile study",
        "cxrflow study --profile nih_sample --data /data/nih_mini --experiments head",
        "cxrflow study --profile nih --data /data/nih --set study.images_seen=655360",
    )
)
def study(
    profile: Annotated[
        str,
        typer.Option(
            help="Whose data settings, recipe and `study` grids apply.",
            autocompletion=complete_profile,
        ),
    ] = "study",
    data: Annotated[
        Path | None,
        typer.Option(help="Folder with X-rays in Kaggle's layout; study makes its own."),
    ] = None,
    root: Root = None,
    experiments: Annotated[
        str, typer.Option(help="Which ones, comma-separated; default: all.")
    ] = "optimizer,learning_rate_batch,image_size,color,head,backbone",
    set_: Overrides = None,
) -> None:
    """Repeat the 2019 study's experiments and write its tables with ours beside them.

    Every trial starts from the same weights, sees the same number of images and is scored on eval.
    """
    from cxrflow.pipeline import config as settings
    from cxrflow.pipeline.reports.summary import SYNTHETIC
    from cxrflow.pipeline.study import find_experiments, run_study

    config = settings.load(profile, set_ or [], data)
    folder = root or settings.run_folder(profile)
    pages = run_study(config, data, folder, find_experiments(experiments))
    for page in pages:
        print(f"{page.result.experiment}: {page.path}")
        print(f"  best on eval: {page.winner or 'none, too many trials failed'}")
    if pages[0].result.synthetic:
        print(SYNTHETIC)
