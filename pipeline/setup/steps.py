"""The setup's steps: one line each on the terminal, the commands' output in a log."""

import contextlib
import os
import shutil
import subprocess
import sys
import time
from typing import Dict, Iterator, List, Optional

from . import places
from .errors import SetupError, likely_cause


class Steps:
    """Prints one line a step, with a live progress line on a terminal; output goes to the log."""

    def __init__(self, total: int) -> None:
        self.total = total
        self.done = 0
        self.name = ""
        self.begin = 0.0
        self.live = sys.stdout.isatty()
        self.log = places.LOG.open("w", encoding="utf-8", errors="replace")

    @contextlib.contextmanager
    def step(self, name: str) -> Iterator[None]:
        """Shows a step and its seconds while the block runs."""
        self.done += 1
        self.name = name
        self.begin = time.monotonic()
        self._show("")
        try:
            yield
        except BaseException:
            if self.live:
                print()
            raise
        self._show("", end="\n")

    def _show(self, detail: str, end: str = "") -> None:
        seconds = time.monotonic() - self.begin
        line = f"  [{self.done}/{self.total}] {self.name:<36} {seconds:5.1f} s"
        if self.live:
            width = shutil.get_terminal_size().columns - 1
            print("\r\033[K" + f"{line}  {detail}"[:width], end=end, flush=True)
        elif end:
            print(line, flush=True)

    def run(self, command: List[str], env: Optional[Dict[str, str]] = None) -> str:
        """Runs a command and returns its output; raises SetupError with its likely cause."""
        self.log.write(f"\n$ {' '.join(command)}\n")
        self.log.flush()
        begin = places.LOG.stat().st_size
        with subprocess.Popen(
            command,
            cwd=places.REPO,
            env=env or clean_env(),
            stdin=subprocess.DEVNULL,
            stdout=self.log,
            stderr=subprocess.STDOUT,
            close_fds=False,  # the lock of _alone goes to the child
        ) as process:
            while True:
                try:
                    process.wait(0.25)
                    break
                except subprocess.TimeoutExpired:
                    lines = self._output(begin).split("\n")
                    self._show(next((s.strip() for s in reversed(lines) if s.strip()), ""))
                except BaseException:
                    process.kill()
                    raise
        output = self._output(begin)
        self.log.seek(0, os.SEEK_END)
        if process.returncode:
            raise SetupError(f"{self.name}: {likely_cause(output)} (log: {places.LOG})")
        return output

    @staticmethod
    def _output(begin: int) -> str:
        with places.LOG.open("rb") as file:
            file.seek(begin)
            return file.read().decode("utf-8", "replace")


def clean_env() -> Dict[str, str]:
    """The user's environment (proxies, pip's settings) less what would point Python elsewhere.

    Nor may it keep bytecode from .venv: each start would compile TensorFlow and TFX anew, 10 s and
    more.
    """
    unwanted = ("PYTHONDONTWRITEBYTECODE", "PYTHONHOME", "PYTHONPATH")
    env = {k: v for k, v in os.environ.items() if k not in unwanted}
    env.setdefault("PIP_RETRIES", "2")
    env.update(PIP_DISABLE_PIP_VERSION_CHECK="1", PIP_NO_INPUT="1", PIP_USER="0", LC_ALL="C.UTF-8")
    return env
