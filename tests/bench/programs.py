"""Programs and packages that a benchmark brings; those that can't be had here raise Unavailable."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

from tests.edge.roots import Unavailable


def uv(*arguments: str) -> None:
    """Calls the uv of this environment. Raises Unavailable."""
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    get(shutil.which("uv", path=path) or "uv", *arguments)


def get(*command: str) -> None:
    """Calls what brings something. Raises Unavailable."""
    name = Path(command[0]).name
    try:
        done = subprocess.run(command, capture_output=True, text=True)
    except OSError as error:
        raise Unavailable(f"{name}: {error.strerror}") from error
    if done.returncode:
        said = " ".join((done.stdout + done.stderr).split())[-300:]
        raise Unavailable(f"{name} couldn't get what is needed: {said}")
