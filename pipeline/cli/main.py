"""Runs the command line: every command's module is imported here, every error becomes one line."""

import os
import signal
import sys
import traceback
from typing import NoReturn

import typer

from cxrflow.pipeline import extras, streams
from cxrflow.pipeline.cli import (  # noqa: F401 (they add commands)
    config,
    data,
    doctor,
    gateway,
    models,
    monitor,
    nodes,
    reports,
    run,
    runs,
    serving,
    workers,
)
from cxrflow.pipeline.cli.app import app
from cxrflow.pipeline.disk import is_full
from cxrflow.schema.errors import CxrflowError

_RESUMING = {"run", "study", "download", "node"}  # commands that go on where they were stopped
# Exit codes, beside 0 and each command's own 1 for "some of many failed".
_ENOUGH = 1  # the reader of a pipe has seen enough
_REFUSED = 2  # bad input, or a place that can't be read or written
_FAULT = 70  # our own, EX_SOFTWARE of sysexits.h
_INTERRUPTED = 130  # Typer's exit code after Ctrl-C
_TERMINATED = 128 + signal.SIGTERM  # what a shell makes of a process that SIGTERM ended
_DEBUG = "CXRFLOW_DEBUG"  # set: tracebacks are shown


class _Terminated(BaseException):
    """SIGTERM came: the command ends as it does after Ctrl-C."""


def main() -> None:
    """Runs the command line; whatever goes wrong ends as one line and an exit code."""
    try:
        streams.make_safe()
        signal.signal(signal.SIGTERM, _terminate)
        code = app(standalone_mode=False)
        sys.stdout.flush()
    except (KeyboardInterrupt, typer.Abort):
        code = _INTERRUPTED
    except _Terminated:
        code = _TERMINATED
    except Exception as error:
        code = _tell(error)
        if is_full(error):  # libraries crash as they close the files that they couldn't write
            streams.settle()
            os._exit(code)
    if code in (_INTERRUPTED, _TERMINATED):
        resumes = not _RESUMING.isdisjoint(sys.argv[1:3])
        hint = "; the same command goes on where this one stopped" if resumes else ""
        streams.say(f"stopped{hint}")
    streams.settle()
    raise SystemExit(code or 0)


def _terminate(*_: object) -> NoReturn:
    raise _Terminated


def _tell(error: Exception) -> int:
    """Says what went wrong in one line; returns the exit code."""
    if isinstance(error, BrokenPipeError):  # `| head`; Typer ends likewise, before the last flush
        return _ENOUGH
    code = _REFUSED
    if isinstance(error, typer.TyperException):
        line = " ".join(error.format_message().split())
        if not line:  # without arguments, Typer has printed the help already
            return code
    elif isinstance(error, CxrflowError):
        line = str(error)
    elif isinstance(error, OSError):
        line = streams.describe(error)
    elif isinstance(error, ModuleNotFoundError) and not (error.name or "").startswith("cxrflow"):
        line = extras.missing(
            str(error.name), "server" if sys.argv[1:2] == ["serve"] else "pipeline"
        )
    else:
        code = _FAULT
        detail = " ".join(f"{type(error).__name__}: {error}".split())[:200]
        line = f"internal error: {detail}; {_DEBUG}=1 shows the traceback"
    if os.environ.get(_DEBUG):
        traceback.print_exception(error)
    streams.say(f"cxrflow: {line}")
    return code
