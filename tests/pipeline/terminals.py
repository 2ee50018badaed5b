"""Commands on a pseudo-terminal, and what a person sees of them."""

import os
import re
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pexpect
import pyte

_ESCAPE = re.compile(rb"\x1b")
# What a terminal's own settings would change.
_SETTINGS = ("NO_COLOR", "FORCE_COLOR", "COLUMNS", "LINES", "PYTHONIOENCODING", "COLORTERM")


@dataclass(frozen=True)
class Seen:
    """What a command left on a terminal."""

    code: int
    raw: bytes
    lines: list[str]  # as they stand on the screen at the end, the empty ones left out
    written: int  # lines that ever went by

    @property
    def text(self) -> str:
        return "\n".join(self.lines)

    @property
    def escapes(self) -> int:
        """Number of escape codes."""
        return len(_ESCAPE.findall(self.raw))


def environment(**changes: str) -> dict[str, str]:
    """This process's environment without settings of its terminal, and with these."""
    kept = {name: value for name, value in os.environ.items() if name not in _SETTINGS}
    return {**kept, "TERM": "xterm-256color", **changes}


def on_terminal(
    args: Sequence[str], width: int = 100, timeout: float = 120, cwd: Path | None = None, **env: str
) -> Seen:
    """Runs a Python command on a pseudo-terminal of so many columns."""
    child = pexpect.spawn(
        sys.executable,
        list(args),
        dimensions=(50, width),
        env=environment(**env),
        timeout=timeout,
        cwd=cwd,
    )
    child.expect(pexpect.EOF)
    child.close()
    raw = child.before
    screen = pyte.Screen(width, 400)
    encoding = env.get("PYTHONIOENCODING", "utf-8").partition(":")[0]
    pyte.Stream(screen).feed(raw.decode(encoding, "replace"))
    code = child.exitstatus if child.exitstatus is not None else -child.signalstatus
    lines = [line.rstrip() for line in screen.display if line.strip()]
    return Seen(code, raw, lines, raw.count(b"\n"))


def piped(args: Sequence[str], **env: str) -> subprocess.CompletedProcess[bytes]:
    """Runs a Python command with stdout and stderr in pipes."""
    return subprocess.run(
        [sys.executable, *args], capture_output=True, env=environment(**env), check=False
    )
