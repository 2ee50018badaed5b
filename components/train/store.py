"""Training inputs on disk: whole or not there at all, and read row by row without filling RAM."""

import json
import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike

from cxrflow.schema.files import whole_folder


@dataclass(frozen=True)
class Stored:
    """Inputs of one split, `views` of each of the N images, and their labels."""

    path: Path  # rows one after another, view after view
    row: tuple[int, ...]  # shape
    dtype: np.dtype
    views: int
    labels: np.ndarray  # float32 [N, C], k-hot or NaN for unknown; the same for every view
    soft: np.ndarray | None = None  # float32 [N, C], in [0, 1]: what is learned instead of labels

    @property
    def targets(self) -> np.ndarray:
        """What is learned, float32 [N, C]: the labels, or what a teacher made of them."""
        return self.labels if self.soft is None else self.soft

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def row_bytes(self) -> int:
        """Size of one row in the file."""
        return math.prod(self.row) * self.dtype.itemsize

    def take(self, images: ArrayLike, views: ArrayLike = 0) -> np.ndarray:
        """The inputs [n, *row] of n images, each in the view asked for."""
        rows = np.asarray(images)
        # Reading, not a memory map, whose pages would count as this process's memory.
        inputs = np.empty((len(rows), *self.row), self.dtype)
        size = self.row_bytes
        with self.path.open("rb", buffering=0) as file:
            for out, image, view in zip(
                inputs, rows, np.broadcast_to(views, len(rows)), strict=True
            ):
                file.seek((int(view) * len(self) + int(image)) * size)
                file.readinto(out.data)
        return inputs

    def batches(
        self, images: np.ndarray | None = None, size: int = 64
    ) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Inputs and labels of the first view, of these images or of all, for `write`."""
        rows = np.arange(len(self)) if images is None else images
        for start in range(0, len(rows), size):
            part = rows[start : start + size]
            yield self.take(part), self.labels[part]


def write(folder: Path, batches: Iterable[tuple[np.ndarray, np.ndarray]], views: int = 1) -> Stored:
    """Stores batches of (inputs, labels), view after view; a folder that is there is kept."""
    if folder.is_dir():
        return read(folder)
    with whole_folder(folder, folder.with_name(folder.name + ".partial")) as partial:
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
