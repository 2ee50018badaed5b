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
from cxrflow.components.train.splits import Images
from cxrflow.schema.errors import CxrflowError
from cxrflow.schema.progress import report

_SIGNATURE = "transformed_examples"
_BATCH = 16


def taught(images: Images, patterns: Sequence[str], teacher: Path, soft_share: float) -> Images:
    """The images with softened labels beside their own.

    Args:
        images: of the train split.
        patterns: of its transformed examples' files.
        teacher: a SavedModel of a Trainer or the ensemble.
        soft_share: of the teacher's calibrated probabilities; the rest are the labels.

    Raises:
        CxrflowError: the teacher has learned from eval, by which the student would be judged. What
            it says of any image tells of those patients too, and be it by a model of other folds.
    """
    if read_out_of_fold(teacher) is not None:
        raise CxrflowError(
            "distill: a cross-fitted teacher has learned from eval, by which its student would be "
            "judged; set train.cross_fit to 0"
        )
    said = _asked(teacher, patterns, len(images.inputs))
    soft = (1 - soft_share) * images.inputs.labels + soft_share * said
    return replace(images, inputs=replace(images.inputs, soft=soft.astype(np.float32)))


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
