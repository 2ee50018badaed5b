"""Which paths a run can carry: in messages of one line, in UTF-8, through globs."""

import os
import re
import unicodedata
from pathlib import Path

from cxrflow.schema.errors import CxrflowError
from cxrflow.schema.text import visible

_GLOB = "*?[\\"  # TFX and Beam take these for patterns, wherever in a path they stand

# Names of buckets: https://cloud.google.com/storage/docs/buckets#naming
_BUCKET = re.compile(r"gs://[a-z0-9][a-z0-9._-]{1,220}[a-z0-9](/[^/*?\[\\\s]+)+/?")
_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+):/+(.*)", re.DOTALL)


_MOUNTED = "name a folder that this machine has mounted"


def require_mounted(path: str | Path, option: str, advice: str = _MOUNTED) -> None:
    """Refuses a URL: nodes open, rename and lock their files as those of a mounted folder.

    Args:
        path: as the user gave it; a Path has one of the URL's two slashes.
        option: where it was given, such as "--root".
        advice: what to do.

    Raises:
        CxrflowError: it begins with a scheme, such as s3://.
    """
    if found := _SCHEME.match(os.fspath(path)):
        scheme, rest = found.groups()
        raise CxrflowError(
            f"{option} {visible(f'{scheme}://{rest}')}: {scheme}:// isn't read or written here; "
            f"{advice} (docs/scale.md)"
        )


def require_replaceable(folder: Path, option: str) -> None:
    """Refuses a mounted volume as what a folder that was written beside it is to become.

    Such a folder would fill another disk, and could not take the volume's place at the end.

    Args:
        folder: which needn't be there.
        option: where it was given, such as "--to".

    Raises:
        CxrflowError: it is a mount point.
    """
    folder = Path(os.path.realpath(folder))
    if os.path.ismount(folder):
        raise CxrflowError(
            f"{option} {folder} is a mounted volume itself, which no finished folder can replace: "
            f"name a folder in it, such as {folder / 'xrays'}"
        )


def require_bucket(uri: str) -> None:
    """Refuses what TensorFlow 2.21 doesn't read and write itself.

    Raises:
        ValueError: it isn't gs://BUCKET/FOLDER; a sentence that begins with the reason.
    """
    found = _SCHEME.match(uri)
    if found is None:
        raise ValueError("name a bucket, gs://BUCKET/FOLDER; for a folder take --root")
    if found[1] != "gs":
        raise ValueError(
            f"{found[1]}:// isn't read or written by TensorFlow 2.21: name a bucket, "
            "gs://BUCKET/FOLDER, or mount it and take --root"
        )
    if not _BUCKET.fullmatch(uri):
        raise ValueError("write it as gs://BUCKET/FOLDER, without * ? [ or a backslash")


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
    bucket = "; artifacts may go to a bucket, gs://, by storage.artifacts"
    require_mounted(root, "--root", _MOUNTED + bucket)
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
