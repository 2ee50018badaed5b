"""Training inputs that are read and decoded anew each time, where storing them takes too much."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import tensorflow as tf
from numpy.typing import ArrayLike

from cxrflow.components.images.pixels import model_images
from cxrflow.components.train.index import Index
from cxrflow.components.train.source import Inputs
from cxrflow.schema.errors import CxrflowError
from cxrflow.schema.features import T_IMAGE
from cxrflow.schema.model_json import CompactFormat

# A network's file system takes a millisecond or more to open a file, and several at once.
_AT_ONCE = 8


@dataclass(frozen=True, kw_only=True)
class Streamed(Inputs):
    """In the TFRecords of transformed examples, each found by its place; of one view."""

    index: Index
    compact: CompactFormat

    def read(self, images: ArrayLike, views: ArrayLike = 0) -> np.ndarray:
        """Serialized examples, bytes [n]; see `Inputs.read`."""
        rows = np.asarray(images)
        found = np.empty(len(rows), object)
        with ThreadPoolExecutor(_AT_ONCE) as threads:
            found[:] = list(threads.map(self._record, rows))
        return found

    def decode(self, rows: Any) -> Any:
        """See `Inputs.decode`."""
        return self._decode(rows)

    @cached_property
    def _decode(self) -> Any:
        spec = {T_IMAGE: tf.io.FixedLenFeature([], tf.string)}
        compact = self.compact

        def decode(serialized: tf.Tensor) -> tf.Tensor:
            images = tf.io.parse_example(serialized, spec)[T_IMAGE]
            return model_images(images, compact.encoding, compact.image_size, self.row[0])

        # In a graph, where several images are decoded at once.
        return tf.function(decode, input_signature=[tf.TensorSpec([None], tf.string)])

    def _record(self, image: int) -> bytes:
        path = self.index.paths[self.index.file[image]]
        size = int(self.index.size[image])
        with open(path, "rb") as file:
            file.seek(int(self.index.start[image]))
            data = file.read(size)
        if len(data) != size:
            raise CxrflowError(f"{path} has become shorter while it was trained on: run it again")
        return data


def stream(index: Index, compact: CompactFormat, image_size: int) -> Streamed:
    """The images of an index in the size of the network."""
    return Streamed(
        row=(image_size, image_size, 1),
        dtype=np.dtype(np.uint8),
        labels=index.labels,
        encoded=True,
        index=index,
        compact=compact,
    )
