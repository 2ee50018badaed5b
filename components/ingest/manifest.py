"""A list of a large folder's images, made once, so that no start of a run asks for each of them.

`manifest.jsonl` in the data folder. Its first line has the time of change of every folder of
images, in nanoseconds; every other one an image: its path in the data folder, bytes and time of
change, both -1 where a link can't be followed.
"""

import json
import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

from cxrflow.schema.commands import command_line
from cxrflow.schema.errors import CxrflowError
from cxrflow.schema.files import whole_file

FILE = "manifest.jsonl"


class Listed(NamedTuple):
    """An image, as os.DirEntry and the result of its `stat` tell of it."""

    path: str
    st_size: int
    st_mtime_ns: int

    @property
    def name(self) -> str:
        """Without the folder."""
        return os.path.basename(self.path)

    def stat(self) -> "Listed":
        """What was true when the manifest was made."""
        return self


def changes(folders: Iterable[Path]) -> dict[str, int]:
    """When folders were changed, by what they are called: files came, went or changed names."""
    return {str(folder): folder.stat().st_mtime_ns for folder in folders}


def write(root: Path, changed: Mapping[str, int], images: Iterable[Listed]) -> int:
    """Writes the manifest of a data folder, whole or not at all; returns the number of images."""
    with whole_file(root / FILE) as aside, aside.open("w", encoding="ascii") as file:
        file.write(json.dumps({_below(root, name): when for name, when in changed.items()}) + "\n")
        return sum(
            file.write(json.dumps([_below(root, path), *status]) + "\n") > 0
            for path, *status in images
        )


def read(root: Path, folders: Iterable[Path]) -> Iterator[Listed] | None:
    """The images that the manifest lists; None where there is no manifest.

    Raises:
        CxrflowError: it is damaged, or older than one of the folders of images.
    """
    if not os.path.isfile(root / FILE):
        return None
    return _read(root, {_below(root, name): when for name, when in changes(folders).items()})


def _read(root: Path, now: Mapping[str, int]) -> Iterator[Listed]:
    again = f"run `{command_line('data', 'manifest', root)}` again, or delete it"
    try:
        with (root / FILE).open(encoding="ascii") as file:
            then = json.loads(next(file, ""))
            if other := sorted(name for name, _ in then.items() ^ now.items()):
                raise CxrflowError(
                    f"{root / FILE} isn't of the images that are in {other[0]} now: {again}"
                )
            for line in file:
                below, size, changed = json.loads(line)
                yield Listed(os.path.join(root, below), size, changed)
    except (OSError, ValueError, TypeError, AttributeError) as error:
        raise CxrflowError(f"{root / FILE} can't be read ({error}): {again}") from None


def _below(root: Path, path: str) -> str:
    return os.path.relpath(path, root)
