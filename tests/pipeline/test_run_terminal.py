"""A run on a terminal: its nodes, progress and summary and nothing else; the log has the rest."""

import json
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from cxrflow.components.ingest.phantom import write_phantoms
from tests.pipeline.fake_tfx import NODES, NOISE
from tests.pipeline.terminals import Seen, environment, on_terminal, piped

FAKE = str(Path(__file__).parent / "fake_tfx.py")
Command = Callable[..., list[str]]


@pytest.fixture(scope="module")
def xrays(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data") / "x rays"
    write_phantoms(folder, 6, 0, 6.0, workers=1)  # each split gets some
    return folder


@pytest.fixture
def run(xrays: Path, tmp_path: Path) -> Command:
    def command(*options: str) -> list[str]:
        return [FAKE, "run", "--data", str(xrays), "--root", str(tmp_path / "root"), *options]

    return command


def log_of(tmp_path: Path) -> str:
    (log,) = (tmp_path / "root" / "logs").glob("*.log")
    return log.read_text()


def assert_quiet(seen: Seen, tmp_path: Path, nodes: int = len(NODES)) -> None:
    """No noise on the terminal; all of it in the log."""
    assert "noise" not in seen.raw.decode(errors="replace")
    log = log_of(tmp_path)
    for source in ("absl", "Python", "warnings", "C"):
        found = set(re.findall(rf"noise of {source} (\S+ \d+)", log))
        assert len(found) == nodes * NOISE // 4, source
    assert log.count("noise of a child") == nodes


def assert_aligned(seen: Seen) -> None:
    """Every class's AUC stands below the others'."""
    columns = [line.index("0.900") for line in seen.lines if "0.900" in line]
    assert len(columns) >= 13 and len(set(columns)) == 1


@pytest.mark.parametrize(
    "width", [*(pytest.param(n, marks=pytest.mark.slow) for n in (40, 200)), 80]
)
def test_a_terminal_of_any_width_shows_nodes_and_summary(
    run: Command, tmp_path: Path, width: int
) -> None:
    seen = on_terminal(run(), width)
    assert seen.code == 0, seen.text
    assert_quiet(seen, tmp_path)
    assert seen.written <= 60 or width < 80
    for node in NODES:
        shown = node if width > 60 else node[:20]
        (line,) = (line for line in seen.lines if line.startswith("✓") and shown in line)
        assert re.search(r" \d+\.\d s$", line) and len(line) <= width
    # No number is cut or broken, no table's line wraps.
    assert seen.text.count("0.900") == 14
    classes = [line for line in seen.lines if "Pleural_Thickening" in line]
    assert len(classes) == 1
    if width >= 80:
        assert_aligned(seen)


def test_an_unchanged_run_is_marked_so(run: Command, tmp_path: Path) -> None:
    seen = on_terminal(run(), FAKE_TFX="cached")
    assert seen.code == 0
    assert_quiet(seen, tmp_path)
    (first,) = (line for line in seen.lines if line.startswith("="))
    assert first.startswith("=  1-6/6 unchanged, taken from an earlier run: RecipeCheck, ")
    assert all(node in seen.text for node in NODES)
    assert "nothing trained" in seen.text


@pytest.mark.slow
@pytest.mark.parametrize(
    ("width", "settings"),
    [
        (40, {"NO_COLOR": "1"}),
        (80, {"TERM": "dumb"}),
        (80, {"PYTHONIOENCODING": "ascii"}),
        (60, {"PYTHONIOENCODING": "latin-1"}),
        (40, {"PYTHONIOENCODING": "ascii", "NO_COLOR": "1", "TERM": "dumb", "LC_ALL": "C"}),
    ],
    ids=str,
)
def test_odd_terminals(run: Command, tmp_path: Path, width: int, settings: dict[str, str]) -> None:
    seen = on_terminal(run(), width, **settings)
    assert seen.code == 0, seen.text
    assert_quiet(seen, tmp_path)
    assert "blessed" in seen.text and seen.text.count("0.900") == 14
    if "PYTHONIOENCODING" in settings:
        assert "(>=" in seen.text and "?" not in seen.text
        seen.raw.decode(settings["PYTHONIOENCODING"])
    if width == 80:
        assert_aligned(seen)
    if "NO_COLOR" in settings or "TERM" in settings:
        assert seen.escapes == 0


@pytest.mark.parametrize("encoding", ["utf-8", "ascii"])
def test_in_a_pipe(run: Command, tmp_path: Path, encoding: str) -> None:
    result = piped(run(), PYTHONIOENCODING=encoding)
    assert (result.returncode, result.stderr) == (0, b"")
    assert b"noise" not in result.stdout and b"\x1b" not in result.stdout
    result.stdout.decode(encoding)
    assert "noise of absl Pusher" in log_of(tmp_path)


def test_a_node_that_breaks_is_one_line_and_its_traceback_in_the_log(
    run: Command, tmp_path: Path
) -> None:
    seen = on_terminal(run(), FAKE_TFX="broken")
    assert seen.code == 2
    assert_quiet(seen, tmp_path, nodes=3)
    assert "Traceback" not in seen.text
    assert sum("the step's own words" in line for line in seen.lines) == 1
    assert any(line.startswith("✗  3/6") for line in seen.lines)
    log = log_of(tmp_path)
    assert "Traceback (most recent call last)" in log and "and more of them" in log


def test_a_file_that_a_node_names_is_found_from_anywhere(run: Command, tmp_path: Path) -> None:
    result = piped(run(), FAKE_TFX="ours")
    named = tmp_path / "root" / "artifacts/ImageExampleGen/stopped/3/quarantine.csv"
    assert (result.returncode, result.stderr) == (2, f"cxrflow: see {named}\n".encode())


def test_full_disk_is_one_line(run: Command, tmp_path: Path) -> None:
    result = piped(run(), FAKE_TFX="full")
    line = f"cxrflow: no space left in {tmp_path / 'root'}: free some and run the same command "
    assert result.returncode == 2
    assert result.stderr.decode().startswith(line) and result.stderr.count(b"\n") == 1


def test_a_folder_that_vanishes_is_one_line(run: Command, tmp_path: Path) -> None:
    result = piped(run(), FAKE_TFX="vanished")
    line = f"cxrflow: {tmp_path / 'root'} has vanished while the run wrote to it\n"
    assert (result.returncode, result.stderr.decode()) == (2, line)


def test_quiet_prints_the_verdict_alone(run: Command) -> None:
    result = piped(run("--quiet"))
    assert (result.returncode, result.stderr) == (0, b"")
    assert result.stdout.decode().splitlines() == [
        "gate: blessed: 12 of 13 classes were judged.",
        "synthetic X-rays: these figures say nothing about real ones",
        "judged by: 12 classes alone",
        "not judged: sex F: too few",
    ]


@pytest.mark.parametrize("show", [piped, on_terminal])
def test_json_is_one_object_and_nothing_else(run: Command, tmp_path: Path, show: Callable) -> None:
    result = show(run("--json"))
    record = json.loads(result.stdout if show is piped else result.raw)
    assert record["blessed"] is True and record["mean_auc"] == 0.9
    assert record["classes"]["Edema"]["auc"] == 0.9
    assert record["classes"]["Atelectasis"]["gate"] == "not judged"
    assert record["executed"] == [*NODES] and record["cached"] == []
    assert Path(record["log"]).is_file()
    assert record["pushed"] == str(tmp_path / "root/serving/cxrflow/1700000000")


def test_verbose_shows_the_log_as_well(run: Command, tmp_path: Path) -> None:
    result = piped(run("--verbose"))
    assert result.returncode == 0
    text = result.stdout.decode()
    assert text.count("noise of absl") == log_of(tmp_path).count("noise of absl") > 0
    assert "noise of a child Pusher" in text and "gate: blessed" in text


def test_one_way_to_show_a_run(run: Command, tmp_path: Path) -> None:
    result = piped(run("--json", "--quiet"))
    assert result.returncode == 2 and b"give one of them" in result.stderr
    assert not (tmp_path / "root").exists()


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)], ids=["Ctrl-C", "SIGTERM"]
)
def test_a_stopped_run_says_that_it_can_go_on(
    run: Command, tmp_path: Path, number: signal.Signals, code: int
) -> None:
    process = subprocess.Popen(
        [sys.executable, *run()],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment(FAKE_TFX="waiting"),
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # ignored behind a `&`
    )
    for line in process.stdout:
        if "2/6" in line:
            break
    while "now waiting" not in log_of(tmp_path):
        assert process.poll() is None, process.stderr.read()
        time.sleep(0.02)
    process.send_signal(number)
    _, errors = process.communicate()
    assert process.returncode == code
    assert errors == "stopped; the same command goes on where this one stopped\n"


def test_commands_are_printed_as_they_can_be_typed(run: Command, tmp_path: Path) -> None:
    command = run()
    command[command.index("--root") + 1] = str(tmp_path / "a root")
    text = piped(command, PATH="/usr/bin:/bin").stdout.decode()
    bin_folder = Path(sys.executable).parent
    if bin_folder.is_relative_to(Path.cwd()):  # an environment below the folder that is worked in
        bin_folder = bin_folder.relative_to(Path.cwd())
    assert f"next         {bin_folder}/cxrflow dashboard --root '{tmp_path}/a root'" in text
    assert f"{bin_folder}/tensorboard --logdir '{tmp_path}/a root/artifacts'" in text
