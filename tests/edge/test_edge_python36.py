"""The linter refuses what Python 3.6 doesn't have in the files that go to the device."""

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from cxrflow.components.edge.device import EDGE, PORTABLE

REPO = Path(__file__).parents[2]


def lint(folder: Path) -> subprocess.CompletedProcess[str]:
    """The Makefile's own call of vermin, on another folder than those that it names."""
    pattern = r"^\t@\$\(BIN\)/vermin (.*) edge schema/portable "
    recipe = re.search(pattern, (REPO / "Makefile").read_text(), re.M)
    assert recipe is not None
    vermin = str(Path(sys.executable).with_name("vermin"))
    command = [vermin, *shlex.split(recipe.group(1)), str(folder)]
    return subprocess.run(command, capture_output=True, text=True)


@pytest.mark.parametrize("folder", [EDGE, PORTABLE], ids=lambda path: path.name)
def test_what_goes_to_the_device_passes(folder):
    done = lint(folder)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("if (n := 1):\n    print(n)\n", "named expressions require !2, 3.8"),
        ("import subprocess\nsubprocess.run([], capture_output=True)\n", "capture_output"),
        ("import dataclasses\n", "'dataclasses' module requires !2, 3.7"),
    ],
)
def test_newer_python_fails(code, said, tmp_path):
    (tmp_path / "script.py").write_text(code)
    done = lint(tmp_path)
    assert done.returncode == 1
    assert said in done.stdout
