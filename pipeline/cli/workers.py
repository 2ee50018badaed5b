"""`cxrflow workers`: Beam's workers for the data steps, on machines of a cluster."""

from typing import Annotated

import typer

from cxrflow.pipeline import extras
from cxrflow.pipeline.cli.app import app, examples


@app.command(
    epilog=examples(
        "cxrflow workers",
        "cxrflow workers --host 10.0.0.7 --port 50001",
    )
)
def workers(
    host: Annotated[
        str,
        typer.Option(
            help="Address to listen on. Whoever reaches it can run code here: keep it to a network "
            "of your own."
        ),
    ] = "localhost",
    port: Annotated[int, typer.Option(min=1, max=65535, help="Port to listen on.")] = 50000,
) -> None:
    """Start Beam workers whenever a runner asks for some, until Ctrl-C.

    A run sends them work with --environment_type=EXTERNAL and --environment_config=HOST:PORT in
    beam.args. They have to see the run's folder and its data at the same paths.
    """
    extras.require("tfx", "pipeline")
    from cxrflow.pipeline import worker_pool

    worker_pool.serve(host, port)
