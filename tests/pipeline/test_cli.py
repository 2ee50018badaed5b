"""The command line: quick answers, examples everywhere, one line for bad input."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import typer

from cxrflow.pipeline import cli
from tests.pipeline.command import cxrflow

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
    ("config", "show"),
    ("doctor",),
    ("runs", "list"),
    ("compile",),
    ("node",),
    ("models", "list"),
    ("models", "compare"),
    ("models", "promote"),
    ("models", "rollback"),
]


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_help_has_examples(command: tuple[str, ...]) -> None:
    ended = cxrflow(*command, "--help")
    assert ended.code == 0
    assert "Examples" in ended.out
    assert f"cxrflow {' '.join(command)}" in ended.out


@pytest.mark.parametrize("command", [[], ["run"], ["predict"]], ids=" ".join)
def test_help_imports_nothing_slow(command: list[str]) -> None:
    """Each of these takes between a tenth of a second and ten."""
    code = (
        "import sys, cxrflow.pipeline.cli, typer.testing as t;"
        f"t.CliRunner().invoke(cxrflow.pipeline.cli.app, {[*command, '--help']});"
        "slow = {'numpy', 'scipy', 'pandas', 'sklearn', 'cv2', 'PIL', 'grpc', 'pydicom', 'yaml',"
        " 'tensorflow', 'keras', 'tfx', 'apache_beam', 'ml_metadata', 'uvicorn', 'asyncio'};"
        "print(*sorted(slow & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "\n"), done.stderr


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
def test_bad_input_is_one_line_and_code_2(
    args: tuple[str, ...], line: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    ended = cxrflow(*args)
    assert ended.code == 2
    assert line in ended.err
    assert len(ended.err.strip().splitlines()) == 1
    assert "Traceback" not in ended.out + ended.err
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "args",
    [
        ("run", "--data", "nowhere"),
        ("run", "--data", "."),
        ("run", "--engine", "spark"),
        ("run", "--set", "train.epoch=1"),
        ("run", "--root", "/proc/nowhere"),
        ("study", "--data", "."),
        ("study", "--experiments", "x"),
        ("study", "--root", "/proc/nowhere"),
    ],
    ids=" ".join,
)
def test_cheap_checks_come_before_tensorflow(args: tuple[str, ...], tmp_path: Path) -> None:
    code = (
        "import sys; from cxrflow.pipeline import cli\n"
        "try: cli.main()\n"
        "except SystemExit as end: assert end.code == 2\n"
        "heavy = {'tensorflow', 'tfx', 'keras', 'apache_beam', 'sklearn'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    result = subprocess.run(
        [sys.executable, "-c", code, *args], cwd=tmp_path, capture_output=True, text=True
    )
    lines = result.stderr.splitlines()
    assert result.returncode == 0, result.stderr
    assert len(lines) == 1 and lines[0].startswith("cxrflow: ")


def test_reader_that_has_seen_enough_ends_a_command_quietly() -> None:
    reader, writer = os.pipe()
    os.close(reader)
    command = [sys.executable, "-m", "cxrflow.pipeline.cli", "run", "--help"]
    result = subprocess.run(command, stdout=writer, stderr=subprocess.PIPE, text=True)
    os.close(writer)
    assert (result.returncode, result.stderr) == (1, "")


@pytest.mark.parametrize(
    ("args", "line"),
    [
        (("predict", "a.png"), "stopped\n"),
        (("data", "phantom", "--to", "x"), "stopped\n"),
        (("run",), "stopped; the same command goes on where this one stopped\n"),
        (("data", "download"), "stopped; the same command goes on where this one stopped\n"),
    ],
)
def test_interrupted_command_says_whether_it_can_go_on(
    args: tuple[str, ...], line: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(sys, "argv", ["cxrflow", *args])
    monkeypatch.setattr(typer.core.TyperGroup, "invoke", interrupt)
    with pytest.raises(SystemExit) as caught:
        cli.main()
    assert (caught.value.code, capsys.readouterr().err) == (130, line)


def test_version_names_what_it_stands_on() -> None:
    command = [sys.executable, "-m", "cxrflow.pipeline.cli", "--version"]
    result = subprocess.run(command, capture_output=True, text=True)
    assert (result.returncode, result.stderr) == (0, "")
    assert "cxrflow 0." in result.stdout
    assert "tfx 1.21.0" in result.stdout


@pytest.mark.parametrize(
    ("words", "candidates"),
    [
        ("cxrflow run --profile nih_", {"nih_baseline", "nih_mini", "nih_sample"}),
        ("cxrflow run --set train.epo", {"train.epochs=", "train.epoch_images="}),
        ("cxrflow mod", {"models"}),
    ],
)
def test_the_shell_completes(words: str, candidates: set[str]) -> None:
    code = "import sys; sys.argv = ['cxrflow']; from cxrflow.pipeline.cli import main; main()"
    env = {
        **os.environ,
        "_CXRFLOW_COMPLETE": "complete_bash",
        "COMP_WORDS": words,
        "COMP_CWORD": str(len(words.split()) - 1),
    }
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=env)
    assert candidates == set(done.stdout.split())


@pytest.mark.parametrize(
    ("given", "found"),
    [
        ({}, "localhost,127.0.0.1"),
        ({"NO_PROXY": "pacs,localhost"}, "pacs,localhost,127.0.0.1"),
        ({"no_proxy": "pacs", "NO_PROXY": "other"}, "pacs,localhost,127.0.0.1"),
        ({"no_proxy": "*"}, "*"),
    ],
)
def test_no_proxy_is_asked_for_this_machine(given: dict[str, str], found: str) -> None:
    kept = {k: v for k, v in os.environ.items() if k.lower() != "no_proxy"}
    code = "import os, cxrflow.pipeline; print(os.environ['no_proxy'])"
    command = [sys.executable, "-c", code]
    said = subprocess.run(command, env=kept | given, capture_output=True, text=True, check=True)
    assert said.stdout.strip() == found
