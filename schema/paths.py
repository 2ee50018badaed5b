"""Which paths a run can carry: in messages of one line, in UTF-8, through globs."""

import os
import unicodedata
from pathlib import Path

from cxrflow.schema.errors import CxrflowError
from cxrflow.schema.text import visible

_GLOB = "*?[\\"  # TFX and Beam take these for patterns, wherever in a path they stand


def require_plain(path: str | Path, option: str) -> None:
    """Refuses what can't be stored as UTF-8 text or breaks a message's line.

    Args:
        path: as the user gave it.
        option: where it was given, such as "--data".

    Raises:
        CxrflowError: the path has bytes that aren't UTF-8, or control characters.
    """
    text = os.fspath(path)
    # Surrogates are what Python makes of bytes that aren't UTF-8.
    if any(unicodedata.category(c) in ("Cc", "Cs", "Zl", "Zp") for c in text):
        raise CxrflowError(
            f"{option} {visible(text)} has control characters or isn't UTF-8: take a folder of "
            "another name"
        )


def require_root(root: Path) -> Path:
    """The folder of a run, absolute, if TFX and Beam can work in it.

    They glob for their own files below it, so that a name such as `runs[1]` would stand for others.

    Raises:
        CxrflowError: its absolute path has one of * ? [ or a backslash, isn't UTF-8, or has control
            characters.
    """
    require_plain(root, "--root")
    try:
        absolute = root.resolve()
    except (OSError, RuntimeError) as error:
        raise CxrflowError(f"--root {root} can't be used: {error}") from None
    if absolute.is_symlink():
        raise CxrflowError(f"--root {root} can't be used: it is a link to itself")
    require_plain(absolute, "--root")
    found = [sign for sign in _GLOB if sign in str(absolute)]
    if found:
        raise CxrflowError(
            f"--root {absolute} has {' and '.join(found)} in its name, which TFX takes for a "
            "pattern: name another folder"
        )
    return absolute
