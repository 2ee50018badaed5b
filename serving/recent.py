"""What the last answers of each version were like, for Prometheus: mean scores, and how many
images may be no chest X-ray."""

import threading
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
from prometheus_client.core import GaugeMetricFamily, Metric

from cxrflow.schema.model_json import BadModelJson, parse_model_json

_UNLIKE = "out_of_distribution"
_MOST_VERSIONS = 8  # the oldest goes: gauges of versions that are gone say nothing


class Answering(Protocol):
    """What is asked of a version that answered."""

    model: str
    number: int
    classes: tuple[str, ...]
    info: str  # its model.json


@dataclass
class _Version:
    classes: tuple[str, ...]
    threshold: float | None  # above which an image is flagged
    scores: deque[np.ndarray]  # float32 [C] each
    flags: deque[bool]


@dataclass
class Recent:
    """The last answers, at most `window` images a version."""

    window: int
    _versions: dict[tuple[str, int], _Version] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def answered(self, version: Answering, values: dict[str, np.ndarray]) -> None:
        """A request's answers, `probabilities` [N, C] among them; others are passed over."""
        probabilities = values.get("probabilities")
        if probabilities is None or probabilities.shape[1:] != (len(version.classes),):
            return
        with self._lock:
            key = (version.model, version.number)
            known = self._versions.pop(key, None) or self._new(version)
            self._versions[key] = known  # the last one to go
            while len(self._versions) > _MOST_VERSIONS:
                del self._versions[next(iter(self._versions))]
            known.scores.extend(np.array(probabilities, np.float32))
            if known.threshold is not None and _UNLIKE in values:
                known.flags.extend((np.ravel(values[_UNLIKE]) > known.threshold).tolist())

    def metrics(self) -> Iterator[Metric]:
        """Gauges of all versions that answered."""
        labels = ["model_name", "version"]
        count = GaugeMetricFamily(
            "cxrflow_serving_recent_images",
            "Images that the other recent gauges are of.",
            labels=labels,
        )
        mean = GaugeMetricFamily(
            "cxrflow_serving_recent_mean_score",
            "Mean probability of a class over the last images.",
            labels=[*labels, "class_name"],
        )
        unlike = GaugeMetricFamily(
            "cxrflow_serving_recent_ood_share",
            "Share of the last images that may be no chest X-ray.",
            labels=labels,
        )
        with self._lock:
            for (model, number), one in self._versions.items():
                key = [model, str(number)]
                count.add_metric(key, len(one.scores))
                for name, score in zip(one.classes, np.mean(one.scores, axis=0), strict=True):
                    mean.add_metric([*key, name], float(score))
                if one.flags:
                    unlike.add_metric(key, sum(one.flags) / len(one.flags))
        yield from (count, mean, unlike)

    def _new(self, version: Answering) -> _Version:
        try:
            told = parse_model_json(version.info).out_of_distribution
        except BadModelJson:
            told = None
        threshold = told.threshold if told else None
        scores: deque[np.ndarray] = deque(maxlen=self.window)
        return _Version(version.classes, threshold, scores, deque(maxlen=self.window))
