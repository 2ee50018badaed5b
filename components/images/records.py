"""Reads the tf.Examples of a split, which Ingest and Transform write as plain TFRecords."""

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import tensorflow as tf


def split_records(files: Path | Iterable[str]) -> tf.data.Dataset:
    """Serialized tf.Examples, string [], in the order of the sorted file names and in them.

    Args:
        files: the split's folder, or its files.
    """
    paths = files.glob("*") if isinstance(files, Path) else files
    return tf.data.TFRecordDataset(tf.constant(sorted(map(str, paths)), tf.string))


def marked(records: tf.data.Dataset, mask: np.ndarray) -> tf.data.Dataset:
    """The records for which the mask, bool [N], is true; none is parsed."""
    pairs = tf.data.Dataset.zip(records, tf.data.Dataset.from_tensor_slices(mask))
    return pairs.filter(lambda _, wanted: wanted).map(lambda record, _: record)
