"""Running from the command line: locks, errors as one line, what a run leaves."""

from pathlib import Path

import pytest

from pipeline import code_version, config, data
from pipeline.run import Run, _as_one_line, only_run_in
from schema.errors import CxrflowError

LOG = Path("run.log")


def test_second_run_in_the_same_root_is_refused(tmp_path: Path) -> None:
    with (
        only_run_in(tmp_path),
        pytest.raises(CxrflowError, match="another run works in"),
        only_run_in(tmp_path),
    ):
        pass
    with only_run_in(tmp_path):  # free again
        pass


def test_our_error_is_found_below_others() -> None:
    try:
        try:
            raise CxrflowError("too few images")
        except CxrflowError as inner:
            raise RuntimeError("node failed") from inner
    except RuntimeError as outer:
        assert str(_as_one_line(outer, LOG)) == "too few images"


def test_our_error_is_found_in_beams_text() -> None:
    text = (
        "Traceback (most recent call last):\n  File ...\n"
        "schema.errors.CxrflowError: too few images [while running 'Run[Ingest]']\n"
    )
    assert str(_as_one_line(RuntimeError(text), LOG)) == "too few images"


def test_foreign_error_is_one_line_with_the_log() -> None:
    line = str(_as_one_line(KeyError("weights\nmore"), LOG))
    assert line.startswith("a step broke: KeyError: ")
    assert line.endswith("run.log")
    assert "\n" not in line


def test_run_is_read_as_written(tmp_path: Path) -> None:
    artifacts = {"A": {"model": "/m"}}
    run = Run({"name": "x"}, "/data", True, 1.5, ["A"], ["B"], artifacts, "/v/1", "/log")
    run.write(tmp_path)
    assert Run.read(tmp_path) == run


def test_no_run_yet(tmp_path: Path) -> None:
    with pytest.raises(CxrflowError, match="no finished run"):
        Run.read(tmp_path)


def test_profile_without_data(tmp_path: Path) -> None:
    with pytest.raises(CxrflowError, match="--data DIR"):
        data.find(config.parse({}), None, tmp_path)
    with pytest.raises(CxrflowError, match="no folder"):
        data.find(config.parse({}), tmp_path / "missing", tmp_path)


def test_code_version_follows_the_code(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(code_version, "ROOT", tmp_path)
    for package in ("a", "b"):
        (tmp_path / package).mkdir()
        (tmp_path / package / "code.py").write_text("1")
    before = code_version.code_version("a")
    (tmp_path / "b" / "code.py").write_text("2")
    assert code_version.code_version("a") == before
    (tmp_path / "a" / "notes.txt").write_text("not code")
    assert code_version.code_version("a") == before
    (tmp_path / "a" / "code.py").write_text("2")
    assert code_version.code_version("a") != before
