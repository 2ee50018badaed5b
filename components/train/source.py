"""Where a training takes its inputs from; `store` and `stream` have the two kinds."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike


@dataclass(frozen=True, kw_only=True)
class Inputs(ABC):
    """Inputs of N images, `views` of each, and their labels."""

    row: tuple[int, ...]  # shape
    dtype: np.dtype
    labels: np.ndarray  # float32 [N, C], k-hot or NaN for unknown; the same for every view
    views: int = 1
    soft: np.ndarray | None = None  # float32 [N, C], in [0, 1]: what is learned instead of labels
    encoded: bool = False  # what `read` gives is bytes, which `decode` makes inputs of

    @property
    def targets(self) -> np.ndarray:
        """What is learned, float32 [N, C]: the labels, or what a teacher made of them."""
        return self.labels if self.soft is None else self.soft

    def __len__(self) -> int:
        return len(self.labels)

    @abstractmethod
    def read(self, images: ArrayLike, views: ArrayLike = 0) -> np.ndarray:
        """What lies there of n images, each in the view asked for: [n, *row], or n times bytes."""

    def decode(self, rows: Any) -> Any:
        """Inputs [n, *row] of what `read` gave; in a graph, too."""
        return rows

    def take(self, images: ArrayLike, views: ArrayLike = 0) -> np.ndarray:
        """The inputs [n, *row] of n images, each in the view asked for."""
        return np.asarray(self.decode(self.read(images, views)))


@dataclass(frozen=True, kw_only=True)
class Chosen(Inputs):
    """Some of the images of several sources of one kind, without a copy; see `chosen`."""

    sources: tuple[Inputs, ...]
    rows: np.ndarray  # int [N], counted through all sources

    def read(self, images: ArrayLike, views: ArrayLike = 0) -> np.ndarray:
        """See `Inputs.read`."""
        wanted = self.rows[np.asarray(images)]
        of_each = np.broadcast_to(views, len(wanted))
        shape = () if self.encoded else self.row
        found = np.empty((len(wanted), *shape), object if self.encoded else self.dtype)
        first = 0
        for source in self.sources:
            here = (wanted >= first) & (wanted < first + len(source))
            found[here] = source.read(wanted[here] - first, of_each[here])
            first += len(source)
        return found

    def decode(self, rows: Any) -> Any:
        """See `Inputs.decode`."""
        return self.sources[0].decode(rows)


def chosen(sources: Sequence[Inputs], rows: np.ndarray) -> Chosen:
    """The images `rows`, int [n], counted through all of the sources."""
    first = sources[0]
    return Chosen(
        row=first.row,
        dtype=first.dtype,
        views=first.views,
        encoded=first.encoded,
        labels=np.concatenate([source.labels for source in sources])[rows],
        sources=tuple(sources),
        rows=rows,
    )
