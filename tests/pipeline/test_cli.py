"""The command line: quick answers, examples everywhere, one line for bad input."""

import resource
import subprocess
import sys
from pathlib import Path

import pytest

COMMANDS = [
    ("run",),
    ("baseline",),
    ("serve",),
    ("dashboard",),
    ("explain",),
    ("predict",),
    ("study",),
    ("data", "phantom"),
    ("data", "check"),
    ("data", "download"),
]


def cxrflow(*args: str, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "pipeline.cli", *args], capture_output=True, text=True, cwd=cwd
    )


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_help_has_examples(command: tuple[str, ...]) -> None:
    result = cxrflow(*command, "--help")
    assert result.returncode == 0
    assert "Examples" in result.stdout
    assert f"cxrflow {' '.join(command)}" in result.stdout


def test_help_imports_no_tensorflow() -> None:
    code = (
        "import sys, pipeline.cli, typer.testing as t;"
        "t.CliRunner().invoke(pipeline.cli.app, ['run', '--help']);"
        "sys.exit(any(m in sys.modules for m in ('tensorflow', 'tfx', 'pandas', 'apache_beam')))"
    )
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def test_answers_within_a_second_of_processor_time() -> None:
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    cxrflow("--help")
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime < 1


@pytest.mark.parametrize(
    ("args", "line"),
    [
        (("run", "--frob"), "No such option: --frob"),
        (("frob",), "No such command 'frob'"),
        (("run", "--engine", "spark"), "--engine spark: name one of local, beam"),
        (("run", "--profile", "nope"), "no profile 'nope'"),
        (("run", "--set", "train.epoch=1"), "there is no setting train.epoch"),
        (("run", "--profile", "nih"), "--data DIR"),
        (("run", "--data", "missing"), "no folder"),
        (("data", "phantom"), "Missing option '--to'"),
        (("data", "check", "missing"), "missing"),
        (("baseline", "--root", "missing"), "no finished run"),
        (("dashboard", "--root", "missing"), "no finished run"),
        (("explain", "a.png", "--model", "missing"), "missing is no model"),
        (("explain",), "Missing argument 'images'"),
    ],
)
def test_bad_input_is_one_line_and_code_2(args: tuple[str, ...], line: str, tmp_path: Path) -> None:
    result = cxrflow(*args, cwd=tmp_path)
    assert result.returncode == 2
    assert line in result.stderr
    assert len(result.stderr.strip().splitlines()) == 1
    assert "Traceback" not in result.stdout + result.stderr
    assert not list(tmp_path.iterdir())
