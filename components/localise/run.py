"""Scores a model's maps on the boxed X-rays of a split."""

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tensorflow as tf

from cxrflow.components.images.decoding import decode
from cxrflow.components.images.records import split_records
from cxrflow.components.localise import places
from cxrflow.components.localise.boxes import Box, read_boxes
from cxrflow.components.localise.maps import Maps
from cxrflow.components.localise.report import LeftOut, Localisation
from cxrflow.components.localise.score import Case, score
from cxrflow.components.localise.settings import LocaliseConfig
from cxrflow.schema import features
from cxrflow.schema.errors import CxrflowError
from cxrflow.schema.model_json import read_model_json
from cxrflow.schema.portable.label_table import same_name
from cxrflow.schema.progress import report

_NAMED = 5  # images of boxes that are left out


@dataclass(frozen=True)
class _Boxed:
    """An X-ray with boxes of classes that the model knows."""

    patient: str
    data: bytes
    rectangles: dict[str, list[np.ndarray]]  # by class


def localise(
    saved_model: Path,
    boxes: Path,
    records: Path | Iterable[str],
    config: LocaliseConfig,
    split: str = "test",
) -> Localisation:
    """Scores a SavedModel's maps.

    Args:
        saved_model: with the signature attention.
        boxes: a BBox_List_2017.csv.
        records: the split's raw tf.Examples: their folder, or files.
        config: how it is scored.
        split: the split's name.

    Raises:
        CxrflowError: the list or the model can't be read.
    """
    info = read_model_json(saved_model)
    listed = read_boxes(boxes)
    images, left_out = _boxed(listed, records, set(info.classes), split)
    found = _maps(saved_model, images, config) if images else None
    cases = _cases(images, found, info.classes, config) if found else []
    maps = found[0] if found else np.empty((0, 0, 0))
    return Localisation(
        model=info.name,
        synthetic=info.synthetic,
        split=split,
        boxes=boxes.name,
        map="class" if maps.ndim == 4 else "shared",
        cells=(maps.shape[1], maps.shape[2]),
        intensities=config.intensities,
        draws=config.draws,
        classes=score(cases, config),
        left_out=left_out,
    )


def _boxed(
    listed: dict[str, list[Box]], records: Path | Iterable[str], classes: set[str], split: str
) -> tuple[list[_Boxed], tuple[LeftOut, ...]]:
    """The X-rays that have boxes to score, and why the other boxes aren't scored."""
    images = []
    elsewhere = dict(listed)
    outside: dict[str, int] = {}
    unknown: dict[str, dict[str, int]] = defaultdict(dict)
    for record in split_records(records):
        example = tf.train.Example.FromString(record.numpy()).features.feature
        image = example[features.IMAGE_ID].bytes_list.value[0].decode()
        boxes = elsewhere.pop(same_name(image), [])
        height, width = (
            example[name].int64_list.value[0] for name in (features.HEIGHT, features.WIDTH)
        )
        rectangles: dict[str, list[np.ndarray]] = defaultdict(list)
        for box in boxes:
            rectangle = places.rectangle(box, height, width)
            if box.name not in classes:
                unknown[box.name][image] = unknown[box.name].get(image, 0) + 1
            elif rectangle is None:
                outside[image] = outside.get(image, 0) + 1
            else:
                rectangles[box.name].append(rectangle)
        if rectangles:
            patient = example[features.PATIENT_ID].bytes_list.value[0].decode()
            data = example[features.IMAGE].bytes_list.value[0]
            images.append(_Boxed(patient, data, dict(rectangles)))
    reasons = [
        *_left_out(outside, "the box lies outside its image"),
        *(
            one
            for name, of in sorted(unknown.items())
            for one in _left_out(of, f"the model has no class {name}")
        ),
        *_left_out(
            {image: len(boxes) for image, boxes in elsewhere.items()},
            f"the image isn't in the split {split}",
        ),
    ]
    return images, tuple(reasons)


def _left_out(counts: dict[str, int], reason: str) -> list[LeftOut]:
    if not counts:
        return []
    return [LeftOut(sum(counts.values()), reason, tuple(sorted(counts)[:_NAMED]))]


def _maps(
    saved_model: Path, images: list[_Boxed], config: LocaliseConfig
) -> tuple[np.ndarray, np.ndarray]:
    """The maps of all X-rays, and those of the network with shuffled weights."""
    maps = Maps(saved_model)
    data = [image.data for image in images]
    plain = maps.of(data)
    report(len(images), 2 * len(images), "images")
    if not maps.shuffle_weights(config.seed):
        raise CxrflowError(f"{saved_model} has no variables: its maps can't be checked")
    return plain, maps.of(data)


def _cases(
    images: list[_Boxed],
    maps: tuple[np.ndarray, np.ndarray],
    classes: tuple[str, ...],
    config: LocaliseConfig,
) -> list[Case]:
    cases = []
    for image, *both in zip(images, *maps, strict=True):
        pixels = decode(tf.constant(image.data))[..., 0].numpy()
        body = places.letterboxed(places.body(pixels), config.grid)
        for name, rectangles in image.rectangles.items():
            plain, randomised = (
                one[..., classes.index(name)] if one.ndim == 3 else one for one in both
            )
            cases.append(Case(name, image.patient, np.array(rectangles), plain, randomised, body))
    return cases
