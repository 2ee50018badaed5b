"""Gauges of the last answers."""

import json
from types import SimpleNamespace

import numpy as np
import pytest

from cxrflow.serving.recent import Recent


def version(number=1, classes=("A", "B"), info=None):
    told = {"classes": list(classes), "out_of_distribution": {"threshold": 5.0}}
    text = json.dumps(told if info is None else info)
    return SimpleNamespace(model="m", number=number, classes=classes, info=text)


def gauges(recent):
    return {
        (sample.name.removeprefix("cxrflow_serving_recent_"), *sample.labels.values()): sample.value
        for metric in recent.metrics()
        for sample in metric.samples
    }


def values(*rows, unlike=None):
    found = {"probabilities": np.array(rows, np.float32)}
    return found if unlike is None else {**found, "out_of_distribution": np.array(unlike)}


def test_means_and_shares_are_of_the_last_images():
    recent = Recent(window=3)
    recent.answered(version(), values([1.0, 0.0], unlike=[9.0]))
    recent.answered(version(), values([0.2, 0.1], [0.4, 0.3], unlike=[4.0, 6.0]))
    recent.answered(version(), values([0.6, 0.2], unlike=[5.0]))  # at the threshold: not above
    assert gauges(recent) == {
        ("images", "m", "1"): 3,
        ("mean_score", "m", "1", "A"): pytest.approx(0.4),
        ("mean_score", "m", "1", "B"): pytest.approx(0.2),
        ("ood_share", "m", "1"): pytest.approx(1 / 3),
    }


def test_versions_stand_apart_and_the_oldest_go():
    recent = Recent(window=3)
    for number in range(10):
        recent.answered(version(number), values([0.1, 0.2]))
    assert {key[2] for key in gauges(recent)} == {str(n) for n in range(2, 10)}


@pytest.mark.parametrize(
    "found",
    [{}, {"logits": np.zeros((1, 2))}, {"probabilities": np.zeros(2)}, values([0.1, 0.2, 0.3])],
)
def test_what_is_no_score_of_the_classes_is_passed_over(found):
    recent = Recent(window=3)
    recent.answered(version(), found)
    assert gauges(recent) == {}


def test_a_model_json_that_is_none_has_no_share():
    recent = Recent(window=3)
    recent.answered(version(info=[]), values([0.1, 0.2], unlike=[9.0]))
    assert ("ood_share", "m", "1") not in gauges(recent) and len(gauges(recent)) == 3
