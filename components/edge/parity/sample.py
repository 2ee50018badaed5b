"""The eval images on which variants are compared, decoded once for all of them."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tensorflow as tf

from cxrflow.components.images.pixels import transformed_parser
from cxrflow.components.images.records import marked, split_records
from cxrflow.components.ingest.split import unit_hash
from cxrflow.schema.errors import CxrflowError
from cxrflow.schema.features import PATIENT_ID
from cxrflow.schema.model_json import CompactFormat
from cxrflow.schema.progress import report

_BATCH = 32  # images decoded at once
_SALT = "edge"  # which patients are drawn


@dataclass(frozen=True)
class Sample:
    """Images, and what is known of them."""

    pixels: Path  # .npy, uint8 [N, S, S]: what the network sees
    labels: np.ndarray  # float32 [N, C], k-hot
    patients: np.ndarray  # bytes [N]


def read_sample(
    paths: Sequence[str],
    compact: CompactFormat,
    image_size: int,
    classes: int,
    limit: int,
    pixels: Path,
) -> Sample:
    """Reads at most `limit` images of whole patients, who are drawn by a hash of their ids.

    Args:
        paths: TFRecords of transformed examples.
        compact: form of the images in them.
        image_size: S.
        classes: C.
        limit: how many images at most.
        pixels: the .npy file to write.

    Raises:
        CxrflowError: there are no images, or every patient has more than `limit`.
    """
    if not paths:
        raise CxrflowError("there are no eval images to evaluate an edge bundle on: give more data")
    records = split_records(paths)
    patients = _patients(records)
    taken = np.isin(patients, whole_patients(patients, limit))
    count = int(taken.sum())
    parse = transformed_parser(compact.encoding, compact.image_size, image_size, classes)
    shape = (count, image_size, image_size)
    images = np.lib.format.open_memmap(pixels, "w+", np.uint8, shape)
    labels = np.empty((count, classes), np.float32)
    done = 0
    batches = marked(records, taken).batch(_BATCH).map(parse, tf.data.AUTOTUNE).prefetch(1)
    for decoded, known in batches.as_numpy_iterator():
        part = slice(done, done + len(known))
        images[part], labels[part] = decoded[..., 0], known
        done = part.stop
        report(done, count, "images decoded")
    images.flush()
    return Sample(pixels, labels, patients[taken])


def whole_patients(patients: np.ndarray, limit: int) -> list[bytes]:
    """Whose images are `limit` at most together; who has too many for what is left is skipped.

    Patients [N], of each image, come in the order of a hash of their ids.

    Raises CxrflowError if every patient has more.
    """
    names, counts = np.unique(patients, return_counts=True)
    images = dict(zip(names.tolist(), counts.tolist(), strict=True))
    taken, total = [], 0
    for name in sorted(images, key=lambda name: unit_hash(name.decode(), _SALT)):
        if total + images[name] <= limit:
            taken.append(name)
            total += images[name]
    if not taken:
        raise CxrflowError(
            f"every patient in eval has more than {limit} images: raise edge.evaluation_images"
        )
    return taken


def _patients(records: tf.data.Dataset) -> np.ndarray:
    spec = {PATIENT_ID: tf.io.FixedLenFeature([], tf.string)}
    parsed = records.batch(256).map(lambda batch: tf.io.parse_example(batch, spec)[PATIENT_ID])
    found = list(parsed.as_numpy_iterator())
    if not found:
        raise CxrflowError("there are no eval images to evaluate an edge bundle on: give more data")
    return np.concatenate(found).astype("S")
