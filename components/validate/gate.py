"""What in the statistics of the splits stops a run, in plain words."""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeAlias

import tensorflow_data_validation as tfdv
from tensorflow_metadata.proto.v0 import anomalies_pb2, schema_pb2, statistics_pb2

from cxrflow.schema import features

Statistics: TypeAlias = statistics_pb2.DatasetFeatureStatisticsList

COMPARED = {
    features.SEX: "infinity_norm",
    features.VIEW: "infinity_norm",
    features.FINDINGS: "infinity_norm",
    features.AGE: "jensen_shannon_divergence",
}

_WORDS = {
    "ENUM_TYPE_UNEXPECTED_STRING_VALUES": "has values that are not in its list",
    "INT_TYPE_BIG_INT": "has values above its range",
    "INT_TYPE_SMALL_INT": "has values below its range",
    "SCHEMA_MISSING_COLUMN": "is missing",
    "FEATURE_TYPE_NOT_PRESENT": "is missing",
    "FEATURE_TYPE_LOW_FRACTION_PRESENT": "is missing in some images",
    "FEATURE_TYPE_LOW_NUMBER_PRESENT": "is missing in too many images",
    "FEATURE_TYPE_HIGH_NUMBER_VALUES": "has too many values in some images",
    "FEATURE_TYPE_LOW_NUMBER_VALUES": "has too few values in some images",
    "INVALID_FEATURE_SHAPE": "has not exactly one value in every image",
    "SCHEMA_NEW_COLUMN": "is not in the schema",
    "UNEXPECTED_DATA_TYPE": "has another type than the schema says",
}


@dataclass(frozen=True)
class Distance:
    """How far a feature's distribution in `split` is from the one in split train."""

    split: str
    feature: str
    value: float  # L-infinity or Jensen-Shannon, 0 to 1
    limit: float
    images: int  # in `split`
    furthest: str  # the value whose share differs most; empty for numbers

    @property
    def too_far(self) -> bool:
        """Whether it exceeds the limit."""
        return self.value > self.limit


def anomalies_in_words(split: str, anomalies: anomalies_pb2.Anomalies) -> list[str]:
    """Returns a line for each of ExampleValidator's anomalies of a split."""
    lines = [
        f"{split}: {description}"
        for description in [anomalies.dataset_anomaly_info.description]
        if description
    ]
    for feature, info in sorted(anomalies.anomaly_info.items()):
        reasons = {
            anomalies_pb2.AnomalyInfo.Type.Name(reason.type): reason.description.strip()
            for reason in info.reason
        }
        if len(reasons) > 1:
            reasons.pop("INVALID_FEATURE_SHAPE", None)  # it follows from the others
        lines += [
            f"{split}: {feature} {_WORDS.get(kind, 'is not as the schema says')} ({description})"
            for kind, description in reasons.items()
        ]
    return lines


def distances(
    statistics: Mapping[str, Statistics], schema: schema_pb2.Schema, limits: Mapping[str, float]
) -> list[Distance]:
    """Measures each split of `limits` against split train with TFDV's drift comparators.

    The limit of a split of n images is the configured one plus `chance(n)`.

    Args:
        statistics: of every split, by name.
        schema: the contract of the examples; its own comparators are not used.
        limits: the largest distance allowed beyond chance, by split, 0 to 1.
    """
    return [
        distance
        for split, limit in limits.items()
        for distance in _compare(split, statistics[split], statistics["train"], schema, limit)
    ]


def distance_in_words(distance: Distance, setting: str) -> str:
    """Returns a line that says what differs and which setting allows it."""
    where = f" (most of all: {distance.furthest})" if distance.furthest else ""
    return (
        f"{distance.split}: {distance.feature}{where} is distributed otherwise than in train, "
        f"distance {distance.value:.3f}; {distance.limit:.3f} is allowed for "
        f"{distance.images:,} images, of which {chance(distance.images):.3f} for chance "
        f"and the rest by {setting}"
    )


def chance(images: int) -> float:
    """The distance from train that a random split of so many images hardly exceeds.

    Three standard errors of a share of one half, with a design effect of 4 since images come in
    clusters of one patient: 3 * sqrt(4 * 0.25 / images).
    """
    return 3 / math.sqrt(images)


def _compare(
    split: str,
    statistics: Statistics,
    train: Statistics,
    schema: schema_pb2.Schema,
    limit: float,
) -> list[Distance]:
    images = int(statistics.datasets[0].num_examples)
    allowed = min(1.0, limit + chance(images))
    measuring = schema_pb2.Schema()
    measuring.CopyFrom(schema)
    for feature in measuring.feature:
        feature.ClearField("drift_comparator")
        if measure := COMPARED.get(feature.name):
            getattr(feature.drift_comparator, measure).threshold = allowed
    found = tfdv.validate_statistics(statistics, measuring, previous_statistics=train)
    return [
        Distance(
            split,
            feature=".".join(info.path.step),
            value=info.drift_measurements[0].value,
            limit=allowed,
            images=images,
            furthest=_furthest(found, ".".join(info.path.step)),
        )
        for info in found.drift_skew_info
    ]


def _furthest(found: anomalies_pb2.Anomalies, feature: str) -> str:
    """The value that TFDV names in the text of an L-infinity anomaly."""
    match = re.search(r"maximum difference is: (.+)", found.anomaly_info[feature].description)
    return match[1].strip() if match else ""
