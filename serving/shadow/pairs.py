"""Two versions' answers to a request as lines of the log."""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timezone
from functools import lru_cache

import numpy as np

from cxrflow.schema.model_json import BadModelJson, ModelJson, parse_model_json
from cxrflow.schema.shadow import Answer, Pair

PROBABILITIES, UNLIKE = "probabilities", "out_of_distribution"


@dataclass(frozen=True)
class Told:
    """A version's answer to a request of N images."""

    version: int
    info: str  # its model.json
    values: dict[str, np.ndarray]


def pairs(
    model: str, images: np.ndarray, first: Told, second: Told, point: str, seconds: float
) -> Iterator[Pair]:
    """A pair for each image of a request.

    Args:
        model: its name.
        images: bytes [N], as they came.
        first: what the client got.
        second: of the shadow.
        point: operating point of the decisions.
        seconds: that the second version took.
    """
    now = datetime.now(timezone.utc).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    synthetic = _described(first.info).synthetic or _described(second.info).synthetic
    told = (_answers(first, point), _answers(second, point))
    for image, one, other in zip(np.ravel(images), *told, strict=True):
        digest = hashlib.sha256(image).hexdigest()
        yield Pair(now, model, digest, point, one, other, seconds, synthetic)


def _answers(told: Told, point: str) -> Iterator[Answer]:
    info = _described(told.info)
    unlike = told.values.get(UNLIKE)
    for row, probabilities in enumerate(told.values[PROBABILITIES].tolist()):
        scores = dict(zip(info.classes, probabilities, strict=True))
        limits = {name: info.threshold(name, point) for name in scores}
        score = None if unlike is None else float(unlike[row])
        limit = info.out_of_distribution.threshold if info.out_of_distribution else None
        yield Answer(
            told.version,
            scores,
            {n: None if (at := limits[n]) is None else p >= at for n, p in scores.items()},
            score,
            None if score is None or limit is None else score > limit,
        )


@lru_cache(maxsize=8)
def _described(info: str) -> ModelJson:
    return parse_model_json(info)


def has_classes(info: str) -> bool:
    """Whether a version's model.json names its classes, without which nothing can be compared."""
    try:
        return bool(_described(info).classes)
    except BadModelJson:
        return False
