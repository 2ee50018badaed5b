"""Images of a split, chosen over patients and classes."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tensorflow as tf

from cxrflow.components.edge.export.choose import choose
from cxrflow.components.images.decoding import compact_batch
from cxrflow.components.images.pixels import model_images
from cxrflow.components.images.records import split_records
from cxrflow.schema.errors import CxrflowError
from cxrflow.schema.features import (
    FINDINGS,
    IMAGE,
    IMAGE_ID,
    PATIENT_ID,
    T_IMAGE,
    T_LABELS,
    UNKNOWN_FINDINGS,
)
from cxrflow.schema.model_json import CompactFormat


def calibration_pixels(
    split: Path, classes: Sequence[str], compact: CompactFormat, image_size: int, count: int
) -> np.ndarray:
    """What the network sees of some images: uint8 [n, S, S].

    Args:
        split: folder of transformed examples.
        classes: in the order of the labels.
        compact: their form.
        image_size: S.
        count: n at most.

    Raises:
        CxrflowError: there are none.
    """
    encoded = _chosen(split, T_IMAGE, classes, count)
    return _model_pixels(tf.constant(list(encoded.values())), compact, image_size)


def golden_originals(split: Path, classes: Sequence[str], count: int) -> dict[str, bytes]:
    """Some originals' bytes by image id; `split` is a folder of raw examples.

    Raises CxrflowError if there are none.
    """
    return _chosen(split, IMAGE, classes, count)


def golden_pixels(
    originals: Sequence[bytes], compact: CompactFormat, image_size: int
) -> np.ndarray:
    """What a model's serving_default lets the network see of PNGs or JPEGs: uint8 [n, S, S]."""
    images = compact_batch(
        tf.constant(list(originals)), compact.image_size, compact.encoding, compact.jpeg_quality
    )
    return _model_pixels(images, compact, image_size)


def _model_pixels(images: tf.Tensor, compact: CompactFormat, image_size: int) -> np.ndarray:
    return model_images(images, compact.encoding, compact.image_size, image_size).numpy()[..., 0]


@dataclass(frozen=True)
class _Row:
    image_id: str
    patient: str
    labels: np.ndarray  # k-hot [C], NaN for unknown


def _chosen(split: Path, image: str, classes: Sequence[str], count: int) -> dict[str, bytes]:
    """Bytes of feature `image` by id, in the ids' order, of what `choose` takes."""
    rows = [_row(features, classes) for features in _features(split)]
    if not rows:
        raise CxrflowError(f"no examples in {split}: the edge export needs some")
    indices = choose(
        [row.image_id for row in rows],
        [row.patient for row in rows],
        np.stack([row.labels for row in rows]),
        count,
    )
    wanted = set(indices)
    found = {
        rows[i].image_id: features[image].bytes_list.value[0]
        for i, features in enumerate(_features(split))
        if i in wanted
    }
    return dict(sorted(found.items()))


def _row(features: dict[str, tf.train.Feature], classes: Sequence[str]) -> _Row:
    """Returns the row of a transformed example, or of a raw one, which names its findings."""
    if T_LABELS in features:
        labels = np.array(features[T_LABELS].float_list.value)
    else:
        findings, unknown = (
            {name.decode() for name in features[key].bytes_list.value} if key in features else set()
            for key in (FINDINGS, UNKNOWN_FINDINGS)
        )
        labels = np.array([np.nan if c in unknown else float(c in findings) for c in classes])
    image_id, patient = (
        features[name].bytes_list.value[0].decode() for name in (IMAGE_ID, PATIENT_ID)
    )
    return _Row(image_id, patient, labels)


def _features(split: Path) -> Iterator[dict[str, tf.train.Feature]]:
    for record in split_records(split).as_numpy_iterator():
        yield tf.train.Example.FromString(record).features.feature
