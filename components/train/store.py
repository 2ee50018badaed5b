"""Training inputs on disk: whole or not there at all, and read row by row without filling RAM."""

import json
import logging
import math
import shutil
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike

from cxrflow.components.train.source import Inputs
from cxrflow.schema.errors import CxrflowError
from cxrflow.schema.files import sync_folder, whole_folder

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Stored(Inputs):
    """In a file, as the network takes them."""

    path: Path  # rows one after another, view after view

    @property
    def row_bytes(self) -> int:
        """Bytes of one input."""
        return math.prod(self.row) * self.dtype.itemsize

    def read(self, images: ArrayLike, views: ArrayLike = 0) -> np.ndarray:
        """See `Inputs.read`.

        Raises:
            CxrflowError: the file has become shorter.
        """
        rows = np.asarray(images)
        # Reading, not a memory map, whose pages would count as this process's memory.
        inputs = np.empty((len(rows), *self.row), self.dtype)
        size = self.row_bytes
        with self.path.open("rb", buffering=0) as file:
            for out, image, view in zip(
                inputs, rows, np.broadcast_to(views, len(rows)), strict=True
            ):
                file.seek((int(view) * len(self) + int(image)) * size)
                if file.readinto(out.data) != size:
                    raise CxrflowError(
                        f"{self.path} has lost its end: run the same command again, which writes "
                        "it anew"
                    )
        return inputs


def is_there(folder: Path) -> bool:
    """Whether all that `write` wrote is here; what a kill or a power cut left of it is removed."""
    shutil.rmtree(_partial(folder), ignore_errors=True)
    if not folder.is_dir():
        return False
    try:
        stored = read(folder)
        if stored.path.stat().st_size == len(stored) * stored.views * stored.row_bytes:
            return True
    except (OSError, EOFError, ValueError, KeyError, TypeError):
        pass
    logger.warning("%s isn't whole: it is written anew", folder)
    shutil.rmtree(folder)
    return False


def write(folder: Path, batches: Iterable[tuple[np.ndarray, np.ndarray]], views: int = 1) -> Stored:
    """Stores batches of (inputs, labels), view after view; a folder that is there is kept."""
    if is_there(folder):
        return read(folder)
    with whole_folder(folder, _partial(folder)) as partial:
        all_labels, form = [], {}
        with (partial / "inputs.bin").open("wb") as file:
            for inputs, labels in batches:
                file.write(np.ascontiguousarray(inputs).data)
                all_labels.append(labels)
                form = {"row": inputs.shape[1:], "dtype": inputs.dtype.name, "views": views}
        rows = np.concatenate(all_labels)
        np.save(partial / "labels.npy", rows[: len(rows) // views])
        (partial / "form.json").write_text(json.dumps(form))
        sync_folder(partial)
    return read(folder)


def read(folder: Path) -> Stored:
    """Opens what `write` left."""
    form = json.loads((folder / "form.json").read_text())
    return Stored(
        path=folder / "inputs.bin",
        row=tuple(form["row"]),
        dtype=np.dtype(form["dtype"]),
        views=form["views"],
        labels=np.load(folder / "labels.npy"),
    )


def _partial(folder: Path) -> Path:
    return folder.with_name(folder.name + ".partial")
