"""Means of feature maps over the whole image and over its cells, and the way back to places."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import keras
from keras import layers


@dataclass(frozen=True)
class PooledMap:
    """A feature map [N, h, w, D] that a linear layer sees as means."""

    features: Any
    cells: int  # over cells × cells parts of the image too; 1: over all of it alone

    @property
    def side(self) -> int:
        """Rows, or columns if those are fewer."""
        return min(int(size) for size in self.features.shape[1:3])


def pooled(maps: Sequence[PooledMap]) -> Any:
    """All means in one row, [N, F]: of each map those over the image, then those over its cells.

    Anatomy has its place in a chest X-ray: means over cells keep it. Cells of a side that they
    don't divide overlap by less than their number of rows.
    """
    means = []
    for i, one in enumerate(maps):
        means.append(layers.GlobalAveragePooling2D(name=f"head_mean{i}")(one.features))
        if one.cells > 1:
            cells = _cells(one.features, one.cells, f"head_cells{i}")
            means.append(layers.Flatten(name=f"head_flat{i}")(cells))
    return layers.Concatenate(name="head_features")(means) if len(means) > 1 else means[0]


def local_logits(maps: Sequence[PooledMap], linear: layers.Dense) -> Any:
    """What a linear layer over `pooled(maps)` says of each place, [N, s, s, C].

    Their mean over the places is the layer's answer for the image, but for cells that overlap
    (class activation maps, Zhou et al., CVPR 2016). s: the coarsest map's side, cut to a multiple
    of the cells.
    """
    cells = max(one.cells for one in maps)
    side = min(one.side for one in maps)
    side -= side % cells
    local = [_cells(one.features, side, f"head_places{i}") for i, one in enumerate(maps)]
    return LocalLogits(linear, [one.cells for one in maps], name="head_local")(local)


def _cells(features: Any, count: int, name: str) -> Any:
    """Means over count × count windows of a map, [N, count, count, D]."""
    rows, columns = features.shape[1:3]
    strides = rows // count, columns // count
    window = rows - (count - 1) * strides[0], columns - (count - 1) * strides[1]
    return layers.AveragePooling2D(window, strides, name=name)(features)


class LocalLogits(layers.Layer):
    """Applies the weights of a linear layer over `pooled` means at each place of the maps."""

    def __init__(self, linear: layers.Dense, cells: Sequence[int], **options: Any) -> None:
        super().__init__(**options)
        self.linear = linear
        self.cells = list(cells)

    def call(self, maps: Sequence[Any]) -> Any:
        """Maps [N, s, s, D] of one side, in the order of `pooled` -> [N, s, s, C]."""
        kernel, total, start = self.linear.kernel, self.linear.bias, 0
        for features, cells in zip(maps, self.cells, strict=True):
            _, side, _, channels = features.shape
            end = start + channels
            total = total + keras.ops.matmul(features, kernel[start:end])
            if cells > 1:
                start, end = end, end + cells * cells * channels
                weights = keras.ops.reshape(kernel[start:end], (cells, cells, channels, -1))
                parts = (-1, cells, side // cells, cells, side // cells, channels)
                found = keras.ops.einsum(
                    "niajbd,ijdc->niajbc", keras.ops.reshape(features, parts), weights
                )
                # A place is one of `cells` squared parts as many as the image has.
                total = total + cells**2 * keras.ops.reshape(
                    found, (-1, side, side, kernel.shape[1])
                )
            start = end
        return total


class Unusual(layers.Layer):
    """Takes from each place what is usual there, and leaves the mean over the places as it is.

    A network's maps have borders, and anatomy its place: both say the same of every image, and
    would hide where this one differs. `usual` [s, s, C] is the mean over training images, of which
    the mean over the places was taken; it is nothing until it is set.
    """

    def build(self, shape: Sequence[int | None]) -> None:
        """shape: of the input, [N, s, s, C]."""
        self.usual = self.add_weight(
            name="usual", shape=shape[1:], initializer="zeros", trainable=False
        )

    def call(self, local: Any) -> Any:
        """[N, s, s, C] -> the same shape."""
        return local - self.usual
