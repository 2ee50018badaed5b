"""What reads a finished run: `cxrflow baseline`, `card`, `dashboard` and `explain`."""

import csv
import sys
import tempfile
from collections.abc import Iterable
from contextlib import nullcontext
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cxrflow.pipeline.cli.app import app, examples
from cxrflow.schema.errors import CxrflowError
from cxrflow.schema.text import visible

if TYPE_CHECKING:
    from cxrflow.serving.client.files import Skipped


@app.command(epilog=examples("cxrflow baseline --root runs/nih_mini"))
def baseline(
    root: Annotated[Path, typer.Option(help="Folder of a finished run.", file_okay=False)],
) -> None:
    """Show what the simplest models reach on the run's own split, beside its model.

    The floor that it must clear: a linear probe on frozen features, sex, age and view alone, and
    shuffled labels. The run itself has computed them.
    """
    from cxrflow.pipeline.record import Run
    from cxrflow.pipeline.reports.baseline import baselines
    from cxrflow.pipeline.reports.summary import show_baseline

    run = Run.read(root)
    show_baseline(run, baselines(run))


@app.command(
    epilog=examples(
        "cxrflow dashboard --root runs/demo",
        "cxrflow dashboard --root runs/nih_mini --serve",
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
    serve: Annotated[
        bool, typer.Option("--serve", help="Then show them at http://127.0.0.1, until Ctrl-C.")
    ] = False,
    port: Annotated[
        int, typer.Option(help="For --serve; 0 takes a free one.", min=0, max=65535)
    ] = 8050,
) -> None:
    """Write a report on a run, as pages that open without a network.

    Is the model good, on whom, compared with what, and may it be pushed: scores with intervals,
    curves, subgroups, X-rays with attention maps, mistakes, data, lineage, history.
    """
    from cxrflow.pipeline import config as settings
    from cxrflow.pipeline.record import Run
    from cxrflow.pipeline.reports.dashboard.serving import listening, show
    from cxrflow.pipeline.terminal import progress_bar, redirected_to

    run = Run.read(root)
    # A port that is taken is found before the work.
    with listening(port) if serve else nullcontext() as server:
        with redirected_to(_log(root, "dashboard")) as console, progress_bar("dashboard", console):
            from cxrflow.pipeline.reports.dashboard.pages import write_dashboard
            from cxrflow.pipeline.reports.dashboard.run_folder import RunFolder

            least = settings.PipelineConfig().evaluate.min_shown
            pages = write_dashboard(RunFolder.of(run, root, least), to or root / "dashboard")
        if server is None:
            print(f"{len(pages)} pages in {visible(str(pages[0].parent))}")
            print(f"open {pages[0].resolve().as_uri()} in a browser")
        else:
            print(f"http://127.0.0.1:{server.server_port}/ shows the report; Ctrl-C ends it")
            show(server, pages[0].parent)


@app.command(
    epilog=examples(
        "cxrflow explain xray.png --model runs/nih_mini",
        "cxrflow explain /data/nih/images --model runs/nih_mini --classes Mass,Nodule",
        "cxrflow explain xray.png --model runs/demo/serving/cxrflow/1795387128 --to maps",
    )
)
def explain(
    images: Annotated[
        list[Path], typer.Argument(help="X-rays, PNG, JPEG or DICOM, or folders of them.")
    ],
    model: Annotated[
        Path, typer.Option(help="A run's folder, a pushed version or a SavedModel.")
    ] = Path("runs/demo"),
    classes: Annotated[
        str,
        typer.Option(
            help="Names, with commas (a name that has one itself in double quotes); default: those "
            "that an X-ray is labelled with or has boxes of, and the three most probable."
        ),
    ] = "",
    boxes: Annotated[
        Path | None,
        typer.Option(help="A BBox_List_2017.csv; default: the one in the X-ray's data folder."),
    ] = None,
    to: Annotated[Path, typer.Option(help="Folder for the pictures.", file_okay=False)] = Path(
        "explained"
    ),
) -> None:
    """Draw where a model looks: X-ray, attention maps, labels, true boxes, probabilities.

    Exit code 1: some images couldn't be read; 2: none could.
    """
    from cxrflow.pipeline.record import Run
    from cxrflow.pipeline.reports.explain import check_classes, find_model, model_of_run
    from cxrflow.pipeline.reports.explain import explain as draw
    from cxrflow.pipeline.terminal import progress_bar, redirected_to

    is_run = (model / "run.json").is_file()
    folder = model_of_run(Run.read(model)) if is_run else find_model(model)
    values = next(csv.reader([classes], skipinitialspace=True), [])
    names = [name.strip() for name in values if name.strip()]
    check_classes(folder, names)
    with redirected_to(to / "explain.log") as console, progress_bar("explain", console):
        found = draw(images, folder, to, names, boxes)
    for path in found.sheets:
        print(visible(str(path)))
    for note in found.notes:
        _say(note)
    for bad in found.bad:
        _say(f"left out: {bad.path}: {bad.reason}")
    for reason, paths in _by_reason(found.skipped).items():
        more = f" and {len(paths) - 1} more" if len(paths) > 1 else ""
        _say(f"skipped {len(paths)}: {reason}: {paths[0]}{more}")
    if not found.sheets:
        raise CxrflowError("no image could be read")
    if found.synthetic:
        print("the model was trained on synthetic X-rays: its maps say nothing about real ones")
    if found.bad:
        raise typer.Exit(1)


@app.command(
    epilog=examples(
        "cxrflow card --root runs/demo",
        "cxrflow card --root runs/nih_mini --to /tmp/card",
    )
)
def card(
    run: Annotated[
        Path | None, typer.Argument(help="Folder of a finished run.", file_okay=False)
    ] = None,
    root: Annotated[
        Path | None, typer.Option(help="The same; default: runs/demo.", file_okay=False)
    ] = None,
    to: Annotated[
        Path | None, typer.Option(help="Folder for the files; default: ROOT/card.", file_okay=False)
    ] = None,
) -> None:
    """Write the card of a run's model: model_card.md and .html, metadata.json, sbom.cdx.json.

    A pushed model has its own in assets.extra; this writes that of any finished run.
    """
    from cxrflow.pipeline.record import Run
    from cxrflow.pipeline.terminal import progress_bar, redirected_to

    if run and root and run != root:
        raise CxrflowError(f"{run} and --root {root} are two runs: name one of them")
    folder = run or root or Path("runs/demo")
    found = Run.read(folder)
    with redirected_to(_log(folder, "card")) as console, progress_bar("model card", console):
        from cxrflow.pipeline.reports.card import card_of_run

        written = card_of_run(found, to or folder / "card")
    for path in written:
        print(visible(str(path)))


def _by_reason(skipped: "Iterable[Skipped]") -> dict[str, list[Path]]:
    found: dict[str, list[Path]] = {}
    for item in skipped:
        found.setdefault(item.reason, []).append(item.path)
    return found


def _say(line: str) -> None:
    print(f"cxrflow: {visible(line)}", file=sys.stderr)


def _log(root: Path, command: str) -> Path:
    """Where a command on a run logs to: the run's own folder, or if that is read-only, a temporary
    one."""
    log = root / "logs" / f"{datetime.now():%Y%m%d-%H%M%S}-{command}.log"
    try:
        log.parent.mkdir(parents=True, exist_ok=True)
        log.touch()
    except OSError:
        return Path(tempfile.mkdtemp(prefix="cxrflow-")) / log.name
    return log
