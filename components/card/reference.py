"""The statistics of what a model was trained on, which travel with it for `cxrflow monitor`."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import cv2
import numpy as np
import tensorflow as tf

from cxrflow.components.images.records import split_records
from cxrflow.components.monitor.columns import (
    IMAGE_DEVIATION,
    IMAGE_MEAN,
    Columns,
    people_columns,
    score_columns,
)
from cxrflow.components.monitor.statistics import (
    HELD_OUT,
    TRAIN,
    statistics_of,
    write_statistics,
)
from cxrflow.components.score.files import OUT_OF_FOLD, has_scores, read_scores
from cxrflow.schema import features
from cxrflow.schema.errors import CxrflowError


def write_reference(
    records: Path, examples: Path, scores: Path, model: str, images: int, folder: Path
) -> Path:
    """Writes `statistics.FILE` into a folder.

    Args:
        records: ImageExampleGen's raw examples without pixels, all splits.
        examples: the same with pixels.
        scores: folder of scores.
        model: whose scores; of eval, or of train and eval out of fold where it was cross-fitted.
        images: training images whose gray levels are measured, at most.
        folder: of the card.

    Raises:
        CxrflowError: something isn't there or can't be read.
    """
    split = OUT_OF_FOLD if has_scores(scores, model, OUT_OF_FOLD) else "eval"
    found = read_scores(scores, model, split)
    people = _people(records / "Split-train")
    pixels = gray_levels(_pictures(examples / "Split-train"), images)
    count = len(people[features.AGE])
    padded = {  # those that weren't measured are unknown
        name: np.concatenate([values, np.full(count - len(values), np.nan)])
        for name, values in pixels.items()
    }
    return write_statistics(
        statistics_of({**padded, **people}, TRAIN),
        statistics_of(score_columns(found.probabilities, found.classes), HELD_OUT),
        folder,
    )


def gray_levels(pictures: Iterator[bytes], most: int) -> Columns:
    """Mean and standard deviation of PNGs and JPEGs as 8-bit gray, of the first `most`.

    Split files are random samples of their split, so that the first ones are too.
    """
    found = []
    for _, data in zip(range(most), pictures, strict=False):
        gray = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_GRAYSCALE)
        if gray is not None:  # ingest has decoded it: the codecs differ about few
            mean, deviation = cv2.meanStdDev(gray)
            found.append((float(mean[0, 0]), float(deviation[0, 0])))
    table = np.array(found, np.float64).reshape(-1, 2)
    return {IMAGE_MEAN: table[:, 0], IMAGE_DEVIATION: table[:, 1]}


def _pictures(split: Path) -> Iterator[bytes]:
    for record in split_records(split).as_numpy_iterator():
        example = tf.train.Example.FromString(record).features.feature
        yield example[features.IMAGE].bytes_list.value[0]


def _people(split: Path) -> Columns:
    rows: list[tuple[int, str, str]] = []
    for record in split_records(split).as_numpy_iterator():
        example = tf.train.Example.FromString(record).features.feature
        sex, view = (
            example[name].bytes_list.value[0].decode() for name in (features.SEX, features.VIEW)
        )
        rows.append((example[features.AGE].int64_list.value[0], sex, view))
    if not rows:
        raise CxrflowError(f"{split} holds no records")
    columns: list[Sequence[object]] = [*zip(*rows, strict=True)]
    ages, sexes, views = columns
    return people_columns(ages, sexes, views)  # type: ignore[arg-type]
