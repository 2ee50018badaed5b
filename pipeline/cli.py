"""The `cxrflow` command. TensorFlow and TFX are imported only by the commands that need them."""

import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

from schema.errors import CxrflowError

if TYPE_CHECKING:
    from components.ingest.check import CheckReport


def _examples(*commands: str) -> str:
    return "\n\n".join(["**Examples**", *(f"`{command}`" for command in commands)])


app = typer.Typer(
    help="Chest X-ray classification, from a folder of X-rays to a served model. "
    "Not a medical device.",
    epilog=_examples("cxrflow run --profile demo", "cxrflow data check /data/nih"),
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
)
data = typer.Typer(
    help="Make, fetch and check data folders.",
    epilog=_examples("cxrflow data phantom --to phantoms", "cxrflow data check phantoms"),
    no_args_is_help=True,
)
app.add_typer(data, name="data")

Root = Annotated[
    Path | None,
    typer.Option(help="Folder of the run; default: runs/PROFILE.", file_okay=False),
]


@app.command(
    epilog=_examples(
        "cxrflow run --profile demo",
        "cxrflow run --profile nih --data /data/nih --set train.epochs=3",
        "cxrflow run --profile my.yaml --data /data/nih --root /big/run1 --engine beam",
    )
)
def run(
    profile: Annotated[
        str, typer.Option(help="demo, nih_mini, nih_sample, nih, or a YAML file.")
    ] = "demo",
    data: Annotated[
        Path | None,
        typer.Option(help="Folder with X-rays in Kaggle's layout; demo makes its own."),
    ] = None,
    root: Root = None,
    engine: Annotated[
        str, typer.Option(help="local (TFX's LocalDagRunner) or beam (BeamDagRunner).")
    ] = "local",
    set_: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="Override a setting; repeatable."),
    ] = None,
) -> None:
    """Run the pipeline: ingest, validate, transform, train, evaluate, gate, push."""
    from pipeline import config as settings
    from pipeline import run as runs
    from pipeline.summary import show

    if engine not in runs.ENGINES:
        raise CxrflowError(f"--engine {engine}: name one of {', '.join(runs.ENGINES)}")
    config = settings.load(profile, set_ or [])
    folder = root or Path("runs") / Path(profile).stem
    show(runs.run_pipeline(config, data, folder, engine), folder)


@app.command(
    epilog=_examples(
        "cxrflow baseline --root runs/nih_mini --weights-dir /data/weights",
    )
)
def baseline(
    root: Annotated[Path, typer.Option(help="Folder of a finished run.", file_okay=False)],
    weights_dir: Annotated[
        str, typer.Option(help="ImageNet MobileNet weights; default: the run's own setting.")
    ] = "",
) -> None:
    """Score frozen ImageNet features + logistic regression on the run's own split.

    The floor that a trained model must clear: per class, C chosen on eval, scored on test.
    """
    from datetime import datetime

    from pipeline.run import Run
    from pipeline.summary import show_baseline
    from pipeline.terminal import progress_bar, redirected_to

    run = Run.read(root)
    train, transform = run.config["train"], run.config["transform"]
    log = root / "logs" / f"{datetime.now():%Y%m%d-%H%M%S}-baseline.log"
    with redirected_to(log) as console, progress_bar("baseline", console):
        from components.evaluate.baseline import baseline as fit

        found = fit(
            Path(run.artifacts["Transform"]["transformed_examples"]),
            run.config["ingest"]["classes"],
            transform["encoding"],
            transform["image_size"],
            weights_dir or train["weights_dir"],
        )
    show_baseline(run, found)


@data.command(
    epilog=_examples("cxrflow data phantom --to phantoms --patients 240 --prevalence-scale 6")
)
def phantom(
    to: Annotated[Path, typer.Option(help="Folder to write; must be new or empty.")],
    patients: Annotated[int, typer.Option(help="Number of patients.")] = 300,
    seed: Annotated[int, typer.Option(help="The same seed gives the same bytes.")] = 0,
    prevalence_scale: Annotated[
        float, typer.Option(help="Raises every finding's prevalence, for small sets.")
    ] = 1.0,
) -> None:
    """Write synthetic X-rays with planted findings, in Kaggle's layout."""
    from components.ingest.phantom import write_phantoms
    from pipeline.terminal import progress_bar

    with progress_bar("synthetic X-rays"):
        images = write_phantoms(to, patients, seed, prevalence_scale)
    print(f"{images:,} synthetic X-rays of {patients:,} patients in {to}")
    print(f"next: cxrflow data check {to}")


@data.command(
    epilog=_examples("cxrflow data check /data/nih", "cxrflow data check /data/nih --headers-only")
)
def check(
    folder: Annotated[Path, typer.Argument(help="Folder in one of Kaggle's layouts.")],
    profile: Annotated[str, typer.Option(help="Whose limits and split apply.")] = "nih",
    headers_only: Annotated[
        bool, typer.Option("--headers-only", help="Don't read every byte of every image.")
    ] = False,
) -> None:
    """Tell what a run would find wrong in a folder: table, images, splits."""
    from components.ingest.check import check_folder
    from pipeline import config as settings
    from pipeline.terminal import progress_bar

    ingest = asdict(settings.load(profile).ingest)
    with progress_bar("checking"):
        report = check_folder(str(folder), ingest, whole=not headers_only)
    _show_check(report)


@data.command(
    epilog=_examples(
        "cxrflow data download --dataset sample --to /data/sample",
        "cxrflow data download --dataset full --to /data/nih",
    )
)
def download(
    dataset: Annotated[str, typer.Option(help="sample (5,606 images) or full (112,120).")],
    to: Annotated[Path, typer.Option(help="Folder to write; must be new or empty.")],
) -> None:
    """Fetch the NIH X-rays from Kaggle, unpack and check them."""
    from components.ingest.kaggle import download as fetch
    from pipeline import config as settings

    if dataset not in ("sample", "full"):
        raise CxrflowError(f"--dataset {dataset}: name one of sample, full")
    profile = "nih" if dataset == "full" else "nih_sample"
    _show_check(fetch(dataset, to, asdict(settings.load(profile).ingest)))


def _show_check(report: "CheckReport") -> None:
    from rich import print as show

    from components.ingest.check import render

    show(render(report))
    if report.stop:  # the report's last line says why
        raise typer.Exit(2)


def main() -> None:
    """Runs the command line; user errors end as one line and exit code 2."""
    try:
        code = app(standalone_mode=False)
    except CxrflowError as error:
        _fail(str(error))
    except typer.TyperException as error:
        # Without arguments, Typer has printed the help already and the message is empty.
        _fail(error.format_message()) if error.format_message() else sys.exit(2)
    except (KeyboardInterrupt, typer.Abort):
        print("stopped; the same command goes on where this one stopped", file=sys.stderr)
        raise SystemExit(130) from None
    raise SystemExit(code or 0)


def _fail(line: str) -> NoReturn:
    print(f"cxrflow: {line}", file=sys.stderr)
    raise SystemExit(2)


if __name__ == "__main__":
    main()
