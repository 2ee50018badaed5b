"""Runs the command line: every command's module is imported here, every error becomes one line."""

import os
import sys
from typing import NoReturn

import typer

from pipeline.cli import (  # noqa: F401 (they add commands)
    config,
    data,
    doctor,
    models,
    reports,
    run,
    runs,
    serving,
)
from pipeline.cli.app import app
from schema.errors import CxrflowError

_RESUMING = {"run", "study", "download"}  # commands that go on where they were stopped
_INTERRUPTED = 130  # Typer's exit code after Ctrl-C


def main() -> None:
    """Runs the command line; user errors end as one line and exit code 2."""
    try:
        code = app(standalone_mode=False)
        sys.stdout.flush()
    except BrokenPipeError:  # `| head` has seen enough; Typer ends likewise, before the last flush
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise SystemExit(1) from None
    except CxrflowError as error:
        _fail(str(error))
    except typer.TyperException as error:
        # Without arguments, Typer has printed the help already and the message is empty.
        _fail(error.format_message()) if error.format_message() else sys.exit(2)
    except (KeyboardInterrupt, typer.Abort):
        code = _INTERRUPTED
    if code == _INTERRUPTED:
        resumes = not _RESUMING.isdisjoint(sys.argv[1:3])
        hint = "; the same command goes on where this one stopped" if resumes else ""
        print(f"stopped{hint}", file=sys.stderr)
    raise SystemExit(code or 0)


def _fail(line: str) -> NoReturn:
    print(f"cxrflow: {line}", file=sys.stderr)
    raise SystemExit(2)
