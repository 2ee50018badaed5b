"""`cxrflow gateway`."""

from pathlib import Path
from typing import Annotated

import typer

from cxrflow.pipeline.cli.app import app, examples

_LOG_BYTES, _LOG_BACKUPS = 50 * 2**20, 5


@app.command(epilog=examples("cxrflow gateway --config gateway.yaml --log gateway.log"))
def gateway(
    config: Annotated[
        Path,
        typer.Option(help="YAML file with fields of serving/gateway/settings.py.", dir_okay=False),
    ],
    log: Annotated[Path, typer.Option(help="Log file, or - for stderr.")] = Path("-"),
) -> None:
    """Take X-rays from a hospital's network by DICOM, ask the server, and send the answers back.

    Studies come by C-STORE; a structured report and a key image go by C-STORE or STOW-RS. What it
    was told to do it does after any crash, too: the queue is a folder. docs/gateway.md has more.
    """
    from contextlib import nullcontext

    from rich.console import Console

    from cxrflow.pipeline import extras
    from cxrflow.pipeline.terminal import redirected_to
    from cxrflow.serving import logs
    from cxrflow.serving.gateway.settings import read_gateway_config

    settings = read_gateway_config(config)
    for package in ("pynetdicom", "highdicom", "cv2", "PIL", "prometheus_client"):
        extras.require(package, "gateway")
    here = str(log) == "-"
    with nullcontext(Console()) if here else redirected_to(log) as console:
        logs.start(None if here else log, _LOG_BYTES, _LOG_BACKUPS)
        from cxrflow.serving.gateway import service

        service.serve(
            settings,
            lambda found: console.print(
                f"{settings.ae_title} listens on {settings.host}:{found.port}, "
                f"queue {settings.queue}",
                soft_wrap=True,
            ),
        )
        console.print("stopped")
