"""What a run shows: nodes, progress, nothing of the libraries' noise."""

import io
import logging
import os
import subprocess
import sys
from pathlib import Path

import pytest
from rich.console import Console

from cxrflow.pipeline.terminal import NodeDisplay, progress_bar, redirected_to
from cxrflow.schema import progress
from cxrflow.schema.errors import CxrflowError
from tests.pipeline.terminals import on_terminal

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


def test_a_log_that_cannot_be_written_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "logs").touch()
    with (
        pytest.raises(CxrflowError, match=r"the log .* can't be written"),
        redirected_to(tmp_path / "logs" / "a.log"),
    ):
        pass


NOISY = """
import sys
from pathlib import Path
from cxrflow.pipeline.terminal import progress_bar, redirected_to
from cxrflow.schema import progress

with redirected_to(Path(sys.argv[1])) as console, progress_bar("step", console):
    from absl import logging  # its handler keeps the sys.stderr of this moment
    logging.set_verbosity(logging.INFO)
    progress.report(1, 2)
    logging.info("noise of absl")
    print("noise of Python")
    progress.report(2, 2)
print("done")
"""


@pytest.mark.parametrize("width", [20, 100])
@pytest.mark.parametrize("settings", [{}, {"NO_COLOR": "1"}], ids=str)
def test_a_step_on_a_terminal_shows_its_bar_alone(
    tmp_path: Path, width: int, settings: dict[str, str]
) -> None:
    """As `baseline`, `dashboard` and `explain` work."""
    log = tmp_path / "step.log"
    seen = on_terminal(["-c", NOISY, str(log)], width, **settings)
    assert seen.code == 0
    assert b"noise" not in seen.raw
    assert seen.lines == ["done"]  # the bar is gone
    assert b"2/2 images" in seen.raw or width == 20
    assert log.read_text().count("noise") == 2
    assert (seen.escapes == 0) == bool(settings)
