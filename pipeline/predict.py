"""`cxrflow predict`: asks, shows progress and prints."""

import sys
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path

from rich.console import Console

from components.progress import report
from pipeline.terminal import progress_bar
from schema.errors import CxrflowError
from serving.client import Client, ClientConfig, Failure, Result
from serving.client.images import find_files
from serving.client.output import FORMATS, csv_lines, json_lines, table


def predict(images: list[Path], config: ClientConfig, form: str) -> int:
    """Prints a result for each image; returns how many failed.

    Raises:
        CxrflowError: no server or no such model, before anything is sent; an unknown format.
    """
    if form not in FORMATS:
        raise CxrflowError(f"--format {form}: name one of {', '.join(FORMATS)}")
    if form == "csv" and config.attention:
        raise CxrflowError("--attention: a map doesn't fit into CSV; use --format json or table")
    out, failed = sys.stdout, 0  # the bar takes sys.stdout

    def counted(client: Client) -> Iterator[Result]:
        nonlocal failed
        files = find_files(images)
        for done, result in enumerate(client.predict_all(files), 1):
            failed += isinstance(result, Failure)
            report(done, len(files))
            yield result

    with Client(config) as client:
        client.check()
        # A bar would be drawn between lines that go to the same terminal.
        bar = nullcontext() if form != "table" and out.isatty() else progress_bar("predicting")
        with bar:
            if form == "table":
                shown = table(list(counted(client)))
            else:
                for line in (json_lines if form == "json" else csv_lines)(counted(client)):
                    out.write(line)
                out.flush()
    if form == "table":
        console = Console(file=out)
        for part in shown:
            console.print(part, soft_wrap=isinstance(part, str))
    return failed
