"""What ingest took in: one row an X-ray, without its pixels."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from cxrflow.schema import features
from cxrflow.schema.errors import CxrflowError
from cxrflow.schema.lean import uncollected

_LISTS = (features.FINDINGS, features.UNKNOWN_FINDINGS)


@dataclass(frozen=True)
class Records:
    """The X-rays of one split, [N] each."""

    image_id: tuple[str, ...]
    patient_id: tuple[str, ...]
    age: np.ndarray  # years
    sex: tuple[str, ...]
    view: tuple[str, ...]
    findings: tuple[tuple[str, ...], ...]  # empty for No Finding, where nothing is unknown
    unknown: tuple[tuple[str, ...], ...]  # classes of which nothing is known


def read_records(folder: Path, split: str) -> Records:
    """The records of a split, as ImageExampleGen wrote them.

    Raises:
        CxrflowError: there are none, or they can't be read.
    """
    with uncollected():
        import tensorflow as tf

    from cxrflow.components.images.records import split_records

    names = (features.IMAGE_ID, features.PATIENT_ID, features.SEX, features.VIEW)
    spec = {
        **{name: tf.io.FixedLenFeature([], tf.string) for name in names},
        features.AGE: tf.io.FixedLenFeature([], tf.int64),
        **{name: tf.io.RaggedFeature(tf.string) for name in _LISTS},
    }
    of_split = folder / f"Split-{split}"
    rows: dict[str, list[Any]] = {name: [] for name in spec}
    try:
        for batch in split_records(of_split).batch(1024):
            for name, values in tf.io.parse_example(batch, spec).items():
                rows[name] += values.to_list() if name in _LISTS else list(values.numpy())
    except tf.errors.OpError as error:
        raise CxrflowError(f"{of_split} can't be read: {error.message[:200]}") from None
    if not rows[features.AGE]:
        raise CxrflowError(f"{of_split} holds no records")
    text = {name: tuple(value.decode() for value in rows[name]) for name in names}
    return Records(
        image_id=text[features.IMAGE_ID],
        patient_id=text[features.PATIENT_ID],
        age=np.array(rows[features.AGE]),
        sex=text[features.SEX],
        view=text[features.VIEW],
        findings=_names(rows[features.FINDINGS]),
        unknown=_names(rows[features.UNKNOWN_FINDINGS]),
    )


def _names(rows: Sequence[Sequence[bytes]]) -> tuple[tuple[str, ...], ...]:
    return tuple(tuple(name.decode() for name in names) for names in rows)
