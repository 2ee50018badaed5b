"""What a student learns: labels that are softened by what its teacher says.

Hinton, Vinyals and Dean, arXiv 1503.02531, at temperature 1: a finding's probability is soft
already. With binary cross-entropy the mixture of labels is the mixture of losses.
"""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import tensorflow as tf

from cxrflow.components.images.records import split_records
from cxrflow.components.model.out_of_fold import read_out_of_fold
from cxrflow.components.train.probe import Images
from cxrflow.schema.progress import report

_SIGNATURE = "transformed_examples"
_BATCH = 16


def taught(images: Images, patterns: Sequence[str], teacher: Path, soft_share: float) -> Images:
    """The images with softened labels beside their own.

    A cross-fitted teacher is heard on each image by its models of other patients: what it has
    learned from an image tells the student nothing that the label doesn't.

    Args:
        images: of a split.
        patterns: of its transformed examples' files.
        teacher: a SavedModel of a Trainer or the ensemble.
        soft_share: of the teacher's calibrated probabilities; the rest are the labels.

    Raises:
        CxrflowError: a cross-fitted teacher doesn't know an image.
    """
    learned = read_out_of_fold(teacher)
    if learned is not None:
        said = learned.probabilities[learned.rows_of(images.image_id)]
    else:
        said = _asked(teacher, patterns, len(images.stored))
    soft = (1 - soft_share) * images.stored.labels + soft_share * said
    return replace(images, stored=replace(images.stored, soft=soft.astype(np.float32)))


def _asked(teacher: Path, patterns: Sequence[str], images: int) -> np.ndarray:
    """Probabilities [N, C], in the order of `inputs.read_transformed`."""
    loaded = tf.saved_model.load(str(teacher))  # kept alive, as its signature's variables are its
    ask = loaded.signatures[_SIGNATURE]
    paths = {path for pattern in patterns for path in tf.io.gfile.glob(pattern)}
    found: list[np.ndarray] = []
    for serialized in split_records(paths).batch(_BATCH).prefetch(1):
        found.append(ask(examples=serialized)["probabilities"].numpy())
        report(sum(map(len, found)), images, "images shown to the teacher")
    return np.concatenate(found)
