"""What went wrong on a Beam worker elsewhere, of which a runner hands back the text alone."""

import re

from cxrflow.schema.errors import CxrflowError

_SAME = "Beam's workers need the same environment as this command (`cxrflow workers` starts them)"
_NO_MODULE = re.compile(r"(?:ModuleNotFoundError|ImportError): (No module named '[\w.]+')")
_NO_FILE = re.compile(
    r"FileNotFoundError: \[Errno 2\] No such file or directory: '([^']+)'"
    r"|NotFoundError: (?:\{\{.*?\}\} )?([^\s;]+); No such file"
    r"|No files found based on the file pattern (\S+)"
)
_NO_ANSWER = re.compile(
    r"failed to connect to all addresses[^\"\n]*?((?:ipv[46]:)?[\w.:\[\]%]+:\d+)"
)


def explained(error: Exception) -> Exception:
    """As one line if another machine's settings may be the cause, else the error itself.

    Args:
        error: what Beam raised in the process that submitted the work.
    """
    text = str(error)
    if isinstance(error, CxrflowError) or "CxrflowError: " in text:
        return error
    if found := _NO_MODULE.search(text):
        return CxrflowError(f"a Beam worker can't import a module ({found[1]}): {_SAME}")
    if found := _NO_FILE.search(text):
        path = next(group for group in found.groups() if group)
        return CxrflowError(
            f"a Beam worker finds no {path}: root and data have to be at the same paths on all "
            "machines"
        )
    if found := _NO_ANSWER.search(text):
        return CxrflowError(
            f"nobody answers Beam at {found[1]}: start the workers (`cxrflow workers`) or correct "
            "--environment_config"
        )
    return error
