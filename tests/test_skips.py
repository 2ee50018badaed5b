"""`--listed-skips`: a skip that isn't on the list fails the run."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

REPO = Path(__file__).resolve().parents[1]


LISTED = """
def test_skipped():
    pytest.skip("no nginx here")

def test_known():
    pytest.xfail("known")
"""
OTHERS = """
def test_skipped():
    pytest.skip("no nginx here, I guess")

def test_missing():
    pytest.importorskip("no_such_module")

def test_lacks_a_package():
    pytest.skip("no tensorflow here")
"""


@pytest.mark.parametrize(("tests", "others"), [(LISTED, 0), (OTHERS, 3)])
def test_unlisted_skips_fail(tests: str, others: int, tmp_path: Path) -> None:
    (tmp_path / "conftest.py").write_text((REPO / "tests" / "conftest.py").read_text())
    listed = (REPO / "tests" / "allowed_skips.txt").read_text()
    (tmp_path / "allowed_skips.txt").write_text(listed)
    (tmp_path / "test_one.py").write_text(f"import pytest\n{tests}")
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "pytest",
            "-q",
            "-p",
            "no:cacheprovider",
            "--listed-skips",
            str(tmp_path),
        ],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(REPO), *sys.path])},
        capture_output=True,
        text=True,
    )
    assert done.returncode == bool(others), done.stdout + done.stderr
    _, _, told = done.stdout.partition("not in tests/allowed_skips.txt")
    assert told.count("test_one.py::") == others
