"""Training inputs on disk: whole or not there at all, and read row by row without filling RAM."""

import json
import math
import shutil
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike

from cxrflow.components.train.source import Inputs
from cxrflow.schema.files import whole_folder


@dataclass(frozen=True, kw_only=True)
class Stored(Inputs):
    """In a file, as the network takes them."""

    path: Path  # rows one after another, view after view

    def read(self, images: ArrayLike, views: ArrayLike = 0) -> np.ndarray:
        """See `Inputs.read`."""
        rows = np.asarray(images)
        # Reading, not a memory map, whose pages would count as this process's memory.
        inputs = np.empty((len(rows), *self.row), self.dtype)
        size = math.prod(self.row) * self.dtype.itemsize
        with self.path.open("rb", buffering=0) as file:
            for out, image, view in zip(
                inputs, rows, np.broadcast_to(views, len(rows)), strict=True
            ):
                file.seek((int(view) * len(self) + int(image)) * size)
                file.readinto(out.data)
        return inputs


def is_there(folder: Path) -> bool:
    """Whether `write` has finished here; what it left when it was killed is removed."""
    shutil.rmtree(_partial(folder), ignore_errors=True)
    return folder.is_dir()


def write(folder: Path, batches: Iterable[tuple[np.ndarray, np.ndarray]], views: int = 1) -> Stored:
    """Stores batches of (inputs, labels), view after view; a folder that is there is kept."""
    if folder.is_dir():
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
