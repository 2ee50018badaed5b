"""`cxrflow monitor`: is what is asked still what the model was trained on, and what a second
version would have said."""

from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any

import typer

from cxrflow.pipeline.cli.app import app, examples
from cxrflow.schema.errors import CxrflowError
from cxrflow.schema.text import visible


@app.command(
    epilog=examples(
        "cxrflow monitor --audit audit.jsonl --model runs/demo",
        "cxrflow monitor --audit audit.jsonl --model /srv/models --to monitor",
        "cxrflow monitor --shadow runs/demo/logs/shadow.jsonl --to monitor",
    )
)
def monitor(
    audit: Annotated[
        list[Path] | None, typer.Option(help="A gateway's audit log; repeatable.", dir_okay=False)
    ] = None,
    model: Annotated[
        Path | None,
        typer.Option(
            help="With --audit: a pushed version, a model's folder (its stable version), a run or "
            "serving root."
        ),
    ] = None,
    shadow: Annotated[
        list[Path] | None,
        typer.Option(
            help="The log of `serve --shadow` instead; repeatable, as for shadow.jsonl.1.",
            dir_okay=False,
        ),
    ] = None,
    to: Annotated[
        Path | None, typer.Option(help="Folder for a page in the report's frame.", file_okay=False)
    ] = None,
    min_answers: Annotated[
        int | None,
        typer.Option(help="Fewer answers of a week aren't judged; default: 100.", min=1),
    ] = None,
    max_distance: Annotated[
        float | None,
        typer.Option(help="Of a feature from training, beyond chance; default: 0.1.", min=0, max=1),
    ] = None,
    max_ood_share: Annotated[
        float | None,
        typer.Option(
            help="Of images that may be no chest X-ray, beyond chance; default: 0.05.",
            min=0,
            max=1,
        ),
    ] = None,
) -> None:
    """Compare what was asked with what the model was trained on, week by week.

    Or, with --shadow, two versions' answers to the same images. Exit code 0: no drift in the newest
    week that can be judged, or two versions compared; 1: drift; 2: bad input.
    """
    if bool(audit) == bool(shadow) or bool(audit) != bool(model):
        raise CxrflowError("give --audit LOG and --model DIR, or --shadow LOG alone")
    if shadow:
        _show_shadow(shadow, to)
    elif audit and model:
        limits = {
            "min_answers": min_answers,
            "max_distance": max_distance,
            "max_ood_share": max_ood_share,
        }
        given = {name: value for name, value in limits.items() if value is not None}
        _show_audit(audit, model, to, given)


def _show_audit(audit: list[Path], model: Path, to: Path | None, limits: dict[str, Any]) -> None:
    from tempfile import TemporaryDirectory

    from cxrflow.components.monitor.settings import MonitorConfig
    from cxrflow.pipeline.terminal import redirected_to

    # TensorFlow's libraries write to the terminal as they are loaded.
    with TemporaryDirectory(prefix="cxrflow-") as logs, redirected_to(Path(logs, "log")):
        from cxrflow.pipeline.reports.monitor.asked import monitor as look
        from cxrflow.pipeline.reports.monitor.told import lines, write_page

        found = look(audit, model, MonitorConfig(**limits))
        page = write_page(found, to) if to else None
    _print(lines(found), page)
    if found.drifts:
        raise typer.Exit(1)


def _show_shadow(logs: list[Path], to: Path | None) -> None:
    from cxrflow.pipeline.reports.monitor.shadow import compare
    from cxrflow.pipeline.reports.monitor.shadow_told import lines, write_page

    found = compare(logs)
    _print(lines(found), write_page(found, to) if to else None)


def _print(lines: Iterable[str], page: Path | None) -> None:
    for line in lines:
        print(line)
    if page:
        print(f"open {visible(page.resolve().as_uri())} in a browser")
