"""A build in a child process: what is told of its end, and what stays on the disk."""

import sys
from pathlib import Path

import numpy as np
import pytest

import building
from building import BuildError


def run(code: str, tmp_path: Path, **options: object) -> None:
    building.run_build([sys.executable, "-c", code], str(tmp_path / "log"), **options)


def test_a_build_that_works_says_how_it_goes(tmp_path, monkeypatch, capfd):
    monkeypatch.setattr(building, "_PROGRESS_SECONDS", 0.1)
    run("import time; print('step', flush=True); time.sleep(1)", tmp_path)
    said = capfd.readouterr().out
    assert "step" in said
    assert " MB free" in said


def test_quiet_output_goes_to_the_log(tmp_path, capfd):
    run("print('verbose')", tmp_path, quiet=True)
    assert capfd.readouterr().out == ""
    assert (tmp_path / "log").read_text() == "verbose\n"


@pytest.mark.parametrize(
    ("code", "told"),
    [
        ("import os; os.kill(os.getpid(), 9)", "out of memory: the kernel killed the build"),
        ("import sys; sys.exit(137)", "out of memory: the kernel killed the build"),
        ("raise MemoryError('gone')", "out of memory: MemoryError: gone"),
        (
            "import sys; sys.exit('terminate called: std::bad_alloc')",
            "out of memory: terminate called: std::bad_alloc",
        ),
    ],
)
def test_out_of_memory_comes_with_what_helps(code, told, tmp_path):
    with pytest.raises(BuildError) as raised:
        run(code, tmp_path)
    text = str(raised.value)
    assert text.startswith(told)
    for command in ("--workspace-mb 64 --batch 1", "multi-user.target", "swapon /swapfile"):
        assert command in text


@pytest.mark.parametrize(
    ("code", "told"),
    [
        (
            "import sys; print('noise\\nwhy', file=sys.stderr); sys.exit(2)",
            "^why$",  # our own line
        ),
        ("raise ValueError('odd')", r"^the build failed: ValueError: odd \(log: .*log\)$"),
        ("import os; os.abort()", r"^the build crashed with signal 6: it said nothing \(log: "),
        ("raise OSError(28, 'No space left on device')", "^the disk is full"),
    ],
)
def test_other_ends(code, told, tmp_path):
    with pytest.raises(BuildError, match=told):
        run(code, tmp_path)


def test_the_child_is_the_first_to_be_killed(tmp_path):
    run("import sys; sys.exit(open('/proc/self/oom_score_adj').read() != '1000\\n')", tmp_path)


def test_memory(tmp_path):
    meminfo = tmp_path / "meminfo"
    meminfo.write_text("MemTotal: 8000000 kB\nMemAvailable:   2048000 kB\nHugePages_Total: 0\n")
    assert building.memory_mb(str(meminfo)) == {"MemTotal": 7812, "MemAvailable": 2000}
    building.require_memory(2000, str(meminfo))
    with pytest.raises(BuildError, match="needs about 2001 MB of free memory and 2000 are free"):
        building.require_memory(2001, str(meminfo))
    building.require_memory(10**6, str(tmp_path / "missing"))  # unknown isn't too little


def test_a_new_engine_takes_the_old_one_s_place(tmp_path):
    new, old = tmp_path / "out.new", tmp_path / "out"
    for folder in (new, old):
        folder.mkdir()
        (folder / "engine.json").write_text(folder.name)
    building.replace_folder(str(new), str(old), "engine.json")
    assert (old / "engine.json").read_text() == "out.new"
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_a_folder_of_something_else_is_left_alone(tmp_path):
    with pytest.raises(BuildError, match="no earlier build"):
        building.require_ours(str(tmp_path), "engine.json")
    building.require_ours(str(tmp_path / "free"), "engine.json")


def test_differences():
    found = building.differences(np.array([[0.5, 0.25]]), np.array([[0.5, 0.75]]))
    assert found == {"largest": 0.5, "mean": 0.25}
    building.check_differences(found, 0.5)
    with pytest.raises(BuildError, match=r"differ by up to 0\.5 .* --max-difference 0\.4"):
        building.check_differences(found, 0.4)
    with pytest.raises(BuildError, match="nan"):
        building.check_differences({"largest": float("nan"), "mean": 0.0}, 0.5)
