"""Commands are printed as they can be typed."""

import shlex
import sys
from pathlib import Path

import pytest

from cxrflow.schema.commands import command_line, program


@pytest.fixture
def environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project's folder, worked in, whose environment has the command."""
    script = tmp_path / "my project" / ".venv" / "bin" / "cxrflow"
    script.parent.mkdir(parents=True)
    script.touch(mode=0o755)
    monkeypatch.setattr(sys, "executable", str(script.parent / "python"))
    monkeypatch.setenv("PATH", "/nowhere")
    monkeypatch.chdir(tmp_path / "my project")
    return script


def test_beside_the_environment_its_path_is_short(environment: Path) -> None:
    assert program() == ".venv/bin/cxrflow"


def test_elsewhere_its_path_is_whole_and_quoted(
    environment: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "other").mkdir()
    monkeypatch.chdir(tmp_path / "other")
    line = command_line("serve", "--root", Path("a 'root'"))
    assert shlex.split(line) == [str(environment), "serve", "--root", "a 'root'"]


def test_on_the_path_the_name_is_enough(environment: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(environment.parent))
    assert command_line("serve") == "cxrflow serve"


def test_another_environments_command_is_not_this_one(
    environment: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = tmp_path / "bin" / "cxrflow"
    other.parent.mkdir()
    other.touch(mode=0o755)
    monkeypatch.setenv("PATH", str(other.parent))
    assert program() == ".venv/bin/cxrflow"


def test_what_is_installed_nowhere_is_called_by_its_name(environment: Path) -> None:
    assert program("tensorboard") == "tensorboard"
