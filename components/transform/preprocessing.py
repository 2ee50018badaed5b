"""TFT's preprocessing_fn: raw examples to compact images, k-hot labels and slice features."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf
import tensorflow_transform as tft

from cxrflow.components.images import decoding as images
from cxrflow.schema import features

AGE_BANDS = ("0-19", "20-39", "40-59", "60-79", "80+")  # years

_COUNTS = "label_counts"  # the vocabulary file in the transform graph
_EXAMPLES = "EXAMPLES"  # its token that every example has
_UNKNOWN = "|"  # begins the token of a class that is unknown; no class's name has one


def preprocessing_fn(inputs: Mapping[str, Any], custom_config: Mapping[str, Any]) -> dict[str, Any]:
    """Transforms a batch of N raw examples.

    Args:
        inputs: tensors by raw feature name, as schema.pbtxt gives them: [N], `findings` sparse.
        custom_config: `classes` (the label vocabulary, in output order), `image_size` (pixels),
            `encoding` ("jpeg" or "raw") and `jpeg_quality`; `slices`, further features to pass on.

    Returns:
        `image` string [N] (see `decoding.encode_compact`), `labels` float32 [N, C] (NaN where
        nothing is known), `age_band` string [N], and the ids, age, sex and view as they came.
    """
    labels = k_hot(inputs[features.FINDINGS], custom_config["classes"])
    if features.UNKNOWN_FINDINGS in inputs:
        unknown = inputs[features.UNKNOWN_FINDINGS]
        labels = with_unknown(labels, unknown, custom_config["classes"])
    _count_labels(labels, custom_config["classes"])
    passed = (
        features.IMAGE_ID,
        features.PATIENT_ID,
        features.AGE,
        features.SEX,
        features.VIEW,
        *custom_config.get("slices", ()),
    )
    return {
        features.T_IMAGE: images.compact_batch(
            inputs[features.IMAGE],
            custom_config["image_size"],
            custom_config["encoding"],
            custom_config["jpeg_quality"],
            limits=None,  # ImageExampleGen has judged the images; TFT has no room for assertions
        ),
        features.T_LABELS: labels,
        features.AGE_BAND: age_band(inputs[features.AGE]),
        **{name: inputs[name] for name in passed},
    }


def k_hot(findings: tf.SparseTensor, classes: Sequence[str]) -> tf.Tensor:
    """Names of findings, sparse string [N, n], to float32 [N, C]; other names are ignored."""
    names = tf.sparse.to_dense(findings, default_value="")  # [N, n]
    matches = tf.equal(names[:, :, None], tf.constant(list(classes)))  # [N, n, C]
    return tf.cast(tf.reduce_any(matches, axis=1), tf.float32)


def with_unknown(labels: tf.Tensor, unknown: tf.SparseTensor, classes: Sequence[str]) -> tf.Tensor:
    """Labels, float32 [N, C], with NaN for the classes that are named, sparse string [N, n]."""
    return tf.where(k_hot(unknown, classes) > 0, np.float32(np.nan), labels)


def age_band(age: tf.Tensor) -> tf.Tensor:
    """Years, int64 [N], to one of AGE_BANDS or, below 0, unknown; string [N]."""
    known = tf.gather(AGE_BANDS, tf.clip_by_value(age // 20, 0, len(AGE_BANDS) - 1))
    return tf.where(age < 0, features.UNKNOWN, known)


def prevalence(transform_output: tft.TFTransformOutput, classes: Sequence[str]) -> np.ndarray:
    """Returns each class's share of the training examples in which it is known, float32 [C], as
    Transform counted them.
    """
    counts = label_counts(transform_output)
    known = [counts[_EXAMPLES] - counts.get(_UNKNOWN + name, 0) for name in classes]
    positive = [counts.get(name, 0) for name in classes]
    return np.array([p / max(n, 1) for p, n in zip(positive, known, strict=True)], np.float32)


def label_counts(transform_output: tft.TFTransformOutput) -> dict[str, int]:
    """Returns the training examples with each label; "EXAMPLES" counts them all, "|NAME" those in
    which NAME is unknown.
    """
    lines = [line.decode() for line in transform_output.vocabulary_by_name(_COUNTS)]
    return {name: int(count) for count, name in (line.split(" ", 1) for line in lines)}


def _count_labels(labels: tf.Tensor, classes: Sequence[str]) -> None:
    """Has TFT count the labels, float32 [N, C], into a vocabulary file of the transform graph.

    A vocabulary with frequencies is the one analyzer whose result TFTransformOutput hands out
    without a graph being run.
    """
    everyone = tf.fill([tf.shape(labels)[0], 1], _EXAMPLES)
    names = tf.where(labels > 0, tf.constant(list(classes)), "")
    unknown = tf.where(tf.math.is_nan(labels), tf.constant([_UNKNOWN + c for c in classes]), "")
    tokens = tf.concat([everyone, names, unknown], axis=1)  # TFT drops empty tokens
    tft.vocabulary(tokens, vocab_filename=_COUNTS, store_frequency=True)
