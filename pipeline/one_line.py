"""Whatever went wrong in a node, as the one line that a user sees."""

import re
from pathlib import Path

from cxrflow.pipeline.disk import is_full, no_space, says_full
from cxrflow.schema.errors import CxrflowError, causes

# Beam reports a DoFn's exception as the text of a traceback inside a RuntimeError.
_OUR_ERROR = re.compile(r"CxrflowError: (.+?)(?: \[while running .*)?$", re.MULTILINE)
# Nodes name their files relative to the root.
_IN_ROOT = re.compile(r"(?<![^\s'\"(])(?=(?:artifacts|edge|serving|work|phantoms-[\w.-]+)/)")


def as_one_line(error: BaseException, root: Path, log: Path, since: int = 0) -> CxrflowError:
    """The error that the command line prints.

    Args:
        error: what a run or a node raised.
        root: the run's folder; paths below it become absolute.
        log: the file that has all of it.
        since: where in it, in bytes, this attempt began.
    """
    if not log.is_file():
        return CxrflowError(f"{root} has vanished while the run wrote to it")
    if is_full(error):
        return no_space(root)
    for cause in causes(error):
        if isinstance(cause, CxrflowError):
            return CxrflowError(_absolute(str(cause).partition(" [while running ")[0], root))
        if found := _OUR_ERROR.findall(str(cause)):
            return CxrflowError(_absolute(found[-1], root))
    if says_full(log, since):  # a library that logs the reason may raise another one
        return no_space(root)
    first = (str(error).strip().splitlines() or [""])[0][:200]
    return CxrflowError(f"a step broke: {type(error).__name__}: {first}; the log has it all: {log}")


def _absolute(message: str, root: Path) -> str:
    return _IN_ROOT.sub(lambda _: f"{root}/", message)
