"""What a run shows: nodes, progress, nothing of the libraries' noise."""

import io
import logging
import os
import subprocess
import sys
from pathlib import Path

from rich.console import Console

from components import progress
from pipeline.terminal import NodeDisplay, progress_bar, redirected_to

absl = logging.getLogger("absl")


def display() -> tuple[NodeDisplay, io.StringIO]:
    text = io.StringIO()
    return NodeDisplay(Console(file=text, width=100), nodes=["Ingest", "Train", "Push"]), text


def test_a_line_per_node_with_cached_ones_marked() -> None:
    absl.setLevel(logging.INFO)
    shown, text = display()
    with shown.attached():
        absl.info("Component Ingest is running.")
        absl.info("Component Ingest is finished.")
        absl.info("node Train is running.")
        absl.info("A cached execution 3 is used.")
        absl.info("node Train is finished.")
        absl.info("something else")
    first, second = text.getvalue().splitlines()
    assert first.startswith("✓  1/3 Ingest") and first.endswith("s")
    assert second.startswith("=  2/3 Train") and "unchanged" in second


def test_a_node_that_breaks_is_shown_as_stopped() -> None:
    absl.setLevel(logging.INFO)
    shown, text = display()
    try:
        with shown.attached():
            absl.info("Component Ingest is running.")
            raise ValueError
    except ValueError:
        pass
    assert text.getvalue().startswith("✗  1/3 Ingest")


def test_records_after_the_run_are_ignored() -> None:
    shown, text = display()
    with shown.attached():
        pass
    absl.info("Component Ingest is running.")
    assert text.getvalue() == ""


def test_progress_bar_is_quiet_without_reports_and_off_a_terminal() -> None:
    text = io.StringIO()
    with progress_bar("step", Console(file=text)):
        progress.report(1, 2)
        progress.report(2, 2)
    assert text.getvalue().strip() == ""


def test_reports_are_throttled_but_the_last_one_comes() -> None:
    seen: list[int] = []

    class Keep(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            seen.append(record.done)

    handler = Keep()
    progress.logger.addHandler(handler)
    try:
        for done in range(1, 1001):
            progress.report(done, 1000)
    finally:
        progress.logger.removeHandler(handler)
    assert seen[-1] == 1000
    assert len(seen) < 20


def test_children_and_c_libraries_write_to_the_log(tmp_path: Path, capfd) -> None:
    log = tmp_path / "logs" / "run.log"
    with redirected_to(log) as console:
        os.write(2, b"native noise\n")
        subprocess.run([sys.executable, "-c", "print('child noise')"], check=True)
        console.print("shown")
    print("after")
    assert capfd.readouterr().out == "shown\nafter\n"
    assert {"native noise", "child noise"} <= set(log.read_text().splitlines())
