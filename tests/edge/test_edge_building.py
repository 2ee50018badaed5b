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


def test_a_known_failure_comes_with_its_remedy(tmp_path):
    text = "ImportError: /usr/lib/libgomp.so.1: cannot allocate memory in static TLS block"
    with pytest.raises(BuildError, match=r"LD_PRELOAD=/usr/lib/libgomp\.so\.1 \(log: "):
        run(f"raise ImportError({text!r})", tmp_path)


MEMINFO = "MemTotal: 8000000 kB\nMemAvailable:   2048000 kB\nHugePages_Total: 0\n"
SWAPS = "Filename\t\t\tType\t\tSize\t\tUsed\t\tPriority\n"


@pytest.mark.parametrize(
    ("meminfo", "swaps", "usable"),
    [
        (MEMINFO, SWAPS, 2000),
        (MEMINFO + "SwapFree: 0 kB\n", SWAPS, 2000),
        # A file on the disk counts whole.
        (MEMINFO + "SwapFree: 4096000 kB\n", SWAPS + "/swapfile file 4096000 0 -2\n", 6000),
        # 1000 of two zrams' 1200 MB are free: 500 count.
        (
            MEMINFO + "SwapFree: 1024000 kB\n",
            SWAPS
            + "/dev/zram0 partition 614400 102400 5\n"
            + "/dev/zram1 partition 614400 102400 5\n",
            2500,
        ),
        # Both: the 4000 of the file, and half of 1000.
        (
            MEMINFO + "SwapFree: 5120000 kB\n",
            SWAPS + "/swapfile file 4096000 0 -2\n/dev/zram0 partition 1024000 0 5\n",
            6500,
        ),
        (MEMINFO + "SwapFree: 1024000 kB\n", "odd\n", 3000),
    ],
)
def test_memory_and_swap(meminfo, swaps, usable, tmp_path):
    for name, text in (("meminfo", meminfo), ("swaps", swaps)):
        (tmp_path / name).write_text(text)
    files = str(tmp_path / "meminfo"), str(tmp_path / "swaps")
    assert building.usable_mb(*files) == usable
    building.require_memory(usable, *files)
    told = f"needs about {usable + 1} MB of free memory and {usable} are free, swap included"
    with pytest.raises(BuildError, match=told):
        building.require_memory(usable + 1, *files)


def test_unknown_memory_isn_t_too_little(tmp_path):
    (tmp_path / "meminfo").write_text(MEMINFO)
    assert building.memory_mb(str(tmp_path / "meminfo")) == {
        "MemTotal": 7812,
        "MemAvailable": 2000,
    }
    assert building.usable_mb(str(tmp_path / "meminfo"), str(tmp_path / "missing")) == 2000
    building.require_memory(10**6, str(tmp_path / "missing"))


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
