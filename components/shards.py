"""Shards that outlive the process that writes them: the next attempt takes those that are whole.

A step keeps its shards in a folder of its own until all of them are there. A shard is a file of the
same name in each of some trees (examples and records, say) and a note on them, which is written
last: a shard without a note, or whose files aren't those that the note tells of, is written again.
Two attempts at a shard never write to the same file, and the last one to end wins.
"""

import hashlib
import json
import os
import shutil
import socket
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from isal import isal_zlib

from cxrflow.components.resume import clear_when_safe
from cxrflow.schema.errors import CxrflowError

_FOLDER = "unfinished"  # beside the numbered folders of an output
_PIECE = 1 << 22  # bytes read at once


@dataclass(frozen=True)
class Shards:
    """The shards of one step; a name has its split's folder in it, "Split-train/data-00000"."""

    folder: str  # absolute
    trees: tuple[str, ...]

    @contextmanager
    def writing(self, name: str) -> Iterator[tuple[list[str], dict[str, Any]]]:
        """Files to write a shard to, one for each tree, and an empty note to fill with JSON.

        Raises:
            CxrflowError: this machine doesn't see the folder. It isn't made here: an attempt that
                is still at work when the step has ended elsewhere would leave it behind.
        """
        note: dict[str, Any] = {}
        attempts = os.path.join(self.folder, "attempts")
        require_seen(self.folder)
        with suppress(FileExistsError):
            os.mkdir(attempts)
        with tempfile.TemporaryDirectory(dir=attempts) as attempt:
            files = [os.path.join(attempt, tree) for tree in self.trees]
            yield files, note
            sums = [_sum(file) for file in files]
            for tree, file in zip(self.trees, files, strict=True):
                place = self._place(tree, name)
                place.parent.mkdir(parents=True, exist_ok=True)
                os.replace(file, place)
            aside, place = Path(attempt, "note"), self._place("notes", name)
            aside.write_text(json.dumps({"sums": sums, "note": note}))
            place.parent.mkdir(parents=True, exist_ok=True)
            os.replace(aside, place)

    def note_if_whole(self, name: str) -> dict[str, Any] | None:
        """What an earlier attempt noted of a shard; None unless its files are still the same."""
        try:
            found = json.loads(self._place("notes", name).read_bytes())
            sums = [_sum(self._place(tree, name)) for tree in self.trees]
            note: dict[str, Any] = found["note"]
            return note if found["sums"] == sums else None
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def note(self, name: str) -> dict[str, Any]:
        """What was noted of a shard that a worker has written.

        Raises:
            CxrflowError: it isn't there.
        """
        path = self._place("notes", name)
        try:
            note: dict[str, Any] = json.loads(path.read_bytes())["note"]
        except FileNotFoundError:
            raise CxrflowError(
                f"the shard {name} was written, but isn't below {self.folder}: do Beam's workers "
                "see the same folder?"
            ) from None
        return note

    def kept(self) -> int:
        """Bytes of the shards that have a note."""
        found = 0
        for path in Path(self.folder, "notes").glob("*/*"):
            with suppress(ValueError, TypeError, KeyError):  # a power cut may have left half a note
                found += sum(size for size, _ in json.loads(path.read_bytes())["sums"])
        return found

    def hand_over(self, outputs: Mapping[str, str]) -> None:
        """Gives the trees' files to the outputs, by tree; the shards go once these are safe."""
        for tree, output in outputs.items():
            source = os.path.join(self.folder, tree)
            shutil.copytree(source, output, copy_function=_give, dirs_exist_ok=True)
        clear_when_safe(self.remove)

    def remove(self) -> None:
        """Removes all shards, and the folder around them if there is nothing else in it."""
        shutil.rmtree(self.folder)
        os.rmdir(os.path.dirname(self.folder))

    def _place(self, tree: str, name: str) -> Path:
        return Path(self.folder, tree, name)


def require_seen(folder: str) -> None:
    """Raises CxrflowError where a folder that the run has made or read isn't there."""
    if not os.path.isdir(folder):
        raise CxrflowError(
            f"the machine {socket.gethostname()} sees no folder {folder}: root and data have to be "
            "at the same paths for all of Beam's workers"
        )


def open_shards(output: str, trees: tuple[str, ...], made_of: Any) -> Shards:
    """The shards of a step, with what an earlier attempt left; those made of other things go.

    Args:
        output: the folder of one of the step's outputs, in whose file system the shards are kept.
        trees: of files.
        made_of: all that decides on the shards' content: settings, code and inputs, as JSON.
    """
    around = Path(os.path.abspath(output)).parent / _FOLDER
    text = json.dumps(made_of, sort_keys=True)
    folder = around / hashlib.sha256(text.encode()).hexdigest()[:16]
    folder.mkdir(parents=True, exist_ok=True)
    for other in set(around.iterdir()) - {folder}:
        shutil.rmtree(other)
    shutil.rmtree(folder / "attempts", ignore_errors=True)
    return Shards(str(folder), trees)


def _give(source: str, target: str) -> None:
    """Has a file at both places without writing it twice; in one, where no file has two names."""
    try:
        os.link(source, target)
    except OSError:
        os.replace(source, target)


def _sum(file: str | Path) -> list[int]:
    """Size and checksum."""
    size = checksum = 0
    with open(file, "rb", buffering=0) as stream:
        while piece := stream.read(_PIECE):
            size += len(piece)
            checksum = isal_zlib.crc32(piece, checksum)
    return [size, checksum]
