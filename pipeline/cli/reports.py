"""What reads a finished run: `cxrflow baseline`, `dashboard` and `explain`."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from pipeline.cli.app import app, examples
from schema.errors import CxrflowError


@app.command(
    epilog=examples(
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


@app.command(
    epilog=examples(
        "cxrflow dashboard --root runs/demo",
        "cxrflow dashboard --root runs/nih_mini --to /tmp/pages",
    )
)
def dashboard(
    root: Annotated[Path, typer.Option(help="Folder of a finished run.", file_okay=False)] = Path(
        "runs/demo"
    ),
    to: Annotated[
        Path | None,
        typer.Option(help="Folder for the pages; default: ROOT/dashboard.", file_okay=False),
    ] = None,
) -> None:
    """Write the run's scores, slices, plots and history as pages that open without a network."""
    from datetime import datetime

    from pipeline.run import Run
    from pipeline.terminal import progress_bar, redirected_to

    run = Run.read(root)
    log = root / "logs" / f"{datetime.now():%Y%m%d-%H%M%S}-dashboard.log"
    with redirected_to(log) as console, progress_bar("dashboard", console):
        from components.evaluate.dashboard.pages import RunFolder, write_dashboard

        folder = RunFolder(
            root=root.resolve(),
            artifacts=run.artifacts,
            ingest=run.config["ingest"],
            data_dir=Path(run.data_dir),
            synthetic=run.synthetic,
        )
        pages = write_dashboard(folder, to or root / "dashboard")
    print("\n".join(str(page) for page in pages))
    print(f"open {pages[0].resolve().as_uri()} in a browser")


@app.command(
    epilog=examples(
        "cxrflow explain xray.png --model runs/nih_mini",
        "cxrflow explain /data/nih/images/*.png --model runs/nih_mini --classes Mass,Nodule",
        "cxrflow explain xray.png --model runs/demo/serving/cxrflow/1795387128 --to maps",
    )
)
def explain(
    images: Annotated[list[Path], typer.Argument(help="X-rays, PNG or JPEG.")],
    model: Annotated[
        Path, typer.Option(help="A run's folder, a pushed version or a SavedModel.")
    ] = Path("runs/demo"),
    classes: Annotated[
        str, typer.Option(help="Names, with commas; default: each X-ray's three most probable.")
    ] = "",
    boxes: Annotated[
        Path | None,
        typer.Option(help="A BBox_List_2017.csv; default: the one in the X-ray's data folder."),
    ] = None,
    to: Annotated[Path, typer.Option(help="Folder for the pictures.", file_okay=False)] = Path(
        "explained"
    ),
) -> None:
    """Draw where a model looks: X-ray, attention maps, true boxes, probabilities."""
    from components.evaluate.explain import check_classes, find_model
    from components.evaluate.explain import explain as draw
    from components.ingest.image import Limits
    from pipeline import config as settings
    from pipeline.run import Run
    from pipeline.terminal import progress_bar, redirected_to

    folder = find_model(Run.read(model).model if (model / "run.json").is_file() else model)
    ingest = settings.load("nih").ingest
    limits = Limits(ingest.min_side, ingest.max_side, ingest.max_bytes)
    names = [name.strip() for name in classes.split(",") if name.strip()]
    check_classes(folder, names)
    with redirected_to(to / "explain.log") as console, progress_bar("explain", console):
        found = draw(images, folder, to, limits, names, boxes)
    for path in found.sheets:
        print(path)
    for problem in found.problems:
        print(f"cxrflow: left out: {problem}", file=sys.stderr)
    if found.synthetic:
        print("the model was trained on synthetic X-rays: its maps say nothing about real ones")
    if not found.sheets:
        raise CxrflowError("none of the images could be read")
