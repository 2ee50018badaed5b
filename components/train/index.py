"""What is known of a split's transformed examples before any of them is decoded."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import tensorflow as tf

from cxrflow.schema.errors import CxrflowError
from cxrflow.schema.features import IMAGE_ID, PATIENT_ID, T_LABELS
from cxrflow.schema.progress import report

_READ_BATCH = 64
# A TFRecord is its length (8 bytes), a checksum of that (4), the data, and a checksum of these (4):
# https://www.tensorflow.org/tutorials/load_data/tfrecord
_BEFORE, _AROUND = 12, 16


@dataclass(frozen=True)
class Index:
    """N images in the order of the sorted file names and of the records in them."""

    paths: tuple[str, ...]
    file: np.ndarray  # int64 [N], which of `paths`
    start: np.ndarray  # int64 [N], of the serialized example in its file
    size: np.ndarray  # int64 [N], in bytes
    labels: np.ndarray  # float32 [N, C], k-hot or NaN for unknown
    image_id: np.ndarray  # text [N]
    patient_id: np.ndarray  # text [N]

    def __len__(self) -> int:
        return len(self.labels)


def read_index(patterns: Sequence[str], classes: int) -> Index:
    """Reads a split once, from uncompressed TFRecords.

    Raises:
        CxrflowError: there are no examples.
    """
    paths = sorted({path for pattern in patterns for path in tf.io.gfile.glob(pattern)})
    spec = {name: tf.io.FixedLenFeature([], tf.string) for name in (IMAGE_ID, PATIENT_ID)}
    spec[T_LABELS] = tf.io.FixedLenFeature([classes], tf.float32)

    def of_file(number: tf.Tensor, path: tf.Tensor) -> tf.data.Dataset:
        return tf.data.TFRecordDataset(path).map(lambda record: (number, record))

    def looked_at(number: tf.Tensor, records: tf.Tensor) -> tuple[tf.Tensor, ...]:
        example = tf.io.parse_example(records, spec)
        size = tf.strings.length(records)
        return number, size, example[T_LABELS], example[IMAGE_ID], example[PATIENT_ID]

    files = tf.data.Dataset.from_tensor_slices(tf.constant(paths, tf.string)).enumerate()
    batches = files.flat_map(of_file).batch(_READ_BATCH).map(looked_at, tf.data.AUTOTUNE)
    columns: list[list[np.ndarray]] = [[], [], [], [], []]
    done = 0
    for batch in batches.prefetch(1).as_numpy_iterator():
        for column, values in zip(columns, batch, strict=True):
            column.append(values.astype(str) if values.dtype == object else values)
        done += len(batch[0])
        report(done, None, "images looked up")
    if not done:
        raise CxrflowError(f"no transformed examples under {', '.join(patterns)}; run Transform")
    file, sizes, labels, image_id, patient_id = map(np.concatenate, columns)
    size = sizes.astype(np.int64)
    before = np.cumsum(size + _AROUND) - (size + _AROUND)  # bytes, through all files
    start = before - before[np.searchsorted(file, file)] + _BEFORE
    return Index(tuple(paths), file, start, size, labels, image_id, patient_id)
