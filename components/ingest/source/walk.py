"""The files of a folder and below, also behind links: people link to where their archive lies."""

import os
from collections import deque
from collections.abc import Iterator
from pathlib import Path

from cxrflow.schema.errors import unreadable


def files_below(folder: Path) -> Iterator[str]:
    """All files but hidden ones, relative to the folder, with "/"; dead links are among them.

    Each folder is looked through once, whatever links lead to it, so that loops end and no image
    is there twice; the paths of those that lie here themselves come before those behind links.

    Raises:
        CxrflowError: a folder can't be read.
    """
    seen: set[tuple[int, int]] = set()
    tops = deque([os.fspath(folder)])
    while tops:
        for where, folders, names in os.walk(tops.popleft(), onerror=_refuse):
            status = os.stat(where)
            if (status.st_dev, status.st_ino) in seen:
                folders.clear()
                continue
            seen.add((status.st_dev, status.st_ino))
            folders[:] = sorted(name for name in folders if not name.startswith("."))
            below = (os.path.join(where, name) for name in folders)
            tops.extend(path for path in below if os.path.islink(path))
            for name in names:
                if not name.startswith("."):
                    yield os.path.relpath(os.path.join(where, name), folder).replace(os.sep, "/")


def _refuse(error: OSError) -> None:
    raise unreadable(error.filename, error) from None
