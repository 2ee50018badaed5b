"""Which paths a run can carry: in messages of one line, in UTF-8, through globs."""

import os
import re
import unicodedata
from pathlib import Path

from cxrflow.schema.errors import CxrflowError
from cxrflow.schema.text import visible

_GLOB = "*?[\\"  # TFX and Beam take these for patterns, wherever in a path they stand

_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+):/+(.*)", re.DOTALL)


def require_mounted(path: str | Path, option: str) -> None:
    """Refuses a URL: nodes open, rename and lock their files as those of a mounted folder.

    Args:
        path: as the user gave it; a Path has one of the URL's two slashes.
        option: where it was given, such as "--root".

    Raises:
        CxrflowError: it begins with a scheme, such as s3://.
    """
    if found := _SCHEME.match(os.fspath(path)):
        scheme, rest = found.groups()
        raise CxrflowError(
            f"{option} {visible(f'{scheme}://{rest}')}: {scheme}:// isn't read or written here; "
            "name a folder that this machine has mounted (docs/scale.md)"
        )


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
        CxrflowError: it is a URL, its absolute path has one of * ? [ or a backslash, isn't UTF-8,
            or has control characters.
    """
    require_mounted(root, "--root")
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
