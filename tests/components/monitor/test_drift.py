"""What is called drift, and what isn't, on synthetic answers of known distributions."""

import math
import re

import numpy as np
import pytest

from cxrflow.components.monitor.columns import (
    AGE,
    IMAGE_DEVIATION,
    IMAGE_MEAN,
    SEX,
    VIEW,
    asked_columns,
    people_columns,
    score_columns,
    title_of,
)
from cxrflow.components.monitor.drift import (
    chance_of_names,
    chance_of_numbers,
    judge,
    judge_unlike,
)
from cxrflow.components.monitor.settings import MonitorConfig
from cxrflow.components.monitor.statistics import (
    HELD_OUT,
    TRAIN,
    read_statistics,
    statistics_of,
    write_statistics,
)
from cxrflow.schema.errors import CxrflowError
from tests.support.audit_logs import CLASSES, decisions, people, scores

pytestmark = pytest.mark.tf

CONFIG = MonitorConfig()


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    known = people(3000, 99)
    columns = people_columns(known["age"], known["sex"], known["view"])
    gray = {IMAGE_MEAN: known["mean"], IMAGE_DEVIATION: known["deviation"]}
    folder = tmp_path_factory.mktemp("v") / "assets.extra"
    folder.mkdir()
    path = write_statistics(
        statistics_of({**gray, **columns}, TRAIN),
        statistics_of(score_columns(scores(900, 99), CLASSES), HELD_OUT),
        folder,
    )
    assert path.stat().st_size < 20_000  # it travels with the model
    return read_statistics(folder.parent)


def found(trained, count, seed, **changes):
    asked = statistics_of(asked_columns([*decisions(count, seed, **changes)], CLASSES), "asked")
    return {one.feature: one for one in judge(asked, trained[TRAIN], trained[HELD_OUT], CONFIG)}


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("count", [100, 600])
def test_more_of_the_same_is_no_drift(trained, count, seed):
    findings = found(trained, count, seed)
    assert {f"score/{name}" for name in CLASSES} | {
        AGE,
        SEX,
        VIEW,
        IMAGE_MEAN,
        IMAGE_DEVIATION,
    } == findings.keys()
    assert {one.status for one in findings.values()} == {"none"}
    assert all(0 <= one.distance < one.limit for one in findings.values())


@pytest.mark.parametrize(
    ("changes", "feature", "words"),
    [
        ({"older": 25}, AGE, r"median 7\d against (49|50|51) in training; distance 0\.\d+, 0\.2"),
        ({"women": 0.95}, SEX, r"[FM] \d+% against \d+% in training"),
        ({"brighter": 30}, IMAGE_MEAN, r"median 1[45]\d against 1[12]\d in training"),
        ({"higher": 2.5}, "score/Mass", r"median 0\.6\d+ against 0\.1\d+ on held-out images"),
    ],
)
def test_what_changed_alone_drifts_and_is_said(trained, changes, feature, words):
    findings = found(trained, 300, 5, **changes)
    assert {name for name, one in findings.items() if one.status == "drift"} == {feature}
    assert re.match(words, findings[feature].words), findings[feature].words
    assert "allowed for 300 answers" in findings[feature].words


def test_too_few_answers_and_what_they_do_not_know_is_not_judged(trained):
    few = found(trained, 99, 1, older=40)
    assert {one.status for one in few.values()} == {"not judged"}
    assert few[AGE].words == "99 answers know it, 100 needed" and math.isnan(few[AGE].distance)
    ageless = [
        type(d)(**{**vars(d), "age": None if i % 3 else d.age})
        for i, d in enumerate(decisions(200, 1))
    ]
    asked = statistics_of(asked_columns(ageless, CLASSES), "asked")
    by_name = {f.feature: f for f in judge(asked, trained[TRAIN], trained[HELD_OUT], CONFIG)}
    assert by_name[AGE].status == "not judged" and by_name[AGE].known == 67
    assert by_name[SEX].status == "none"


def test_where_no_distance_could_exceed_chance_nothing_is_judged(trained):
    asked = statistics_of(asked_columns([*decisions(30, 1, older=60)], CLASSES), "asked")
    findings = judge(asked, trained[TRAIN], trained[HELD_OUT], MonitorConfig(min_answers=10))
    age = next(one for one in findings if one.feature == AGE)
    assert age.status == "not judged" and age.words.endswith("are too few to tell")


def test_an_unknown_sex_or_view_is_a_change_of_the_data(trained):
    rows = [type(d)(**{**vars(d), "view": None}) for d in decisions(200, 1)]
    asked = statistics_of(asked_columns(rows, CLASSES), "asked")
    by_name = {f.feature: f for f in judge(asked, trained[TRAIN], trained[HELD_OUT], CONFIG)}
    assert by_name[VIEW].status == "drift" and "unknown 100% against 0%" in by_name[VIEW].words
    assert by_name[VIEW].distance == pytest.approx(1, abs=1e-6)


@pytest.mark.parametrize(
    ("flagged", "answers", "status"),
    [
        (0, 99, "not judged"),
        (0, 100, "none"),
        (5, 100, "none"),
        (12, 100, "none"),  # 5 % are allowed, and 12 of 100 may be chance
        (30, 100, "drift"),
        (100, 1000, "drift"),
        (60, 1000, "none"),
    ],
)
def test_the_share_of_images_unlike_training(flagged, answers, status):
    assert judge_unlike(flagged, answers, 0.99, CONFIG).status == status


def test_a_threshold_that_flags_more_by_design_allows_more():
    assert judge_unlike(400, 2000, 0.7, CONFIG).status == "none"
    assert judge_unlike(400, 2000, 0.99, CONFIG).status == "drift"


def test_more_answers_allow_less_for_chance():
    assert chance_of_names(400, 10**9) == pytest.approx(0.15)  # as validate.gate.chance
    for chance in (chance_of_names, chance_of_numbers):
        assert chance(100, 3000) > chance(1000, 3000) > chance(1000, 10**6) > 0


def test_chance_alone_hardly_exceeds_what_is_allowed_for_numbers():
    """One independent draw in a thousand may, with the allowance for clusters taken away."""
    random = np.random.default_rng(0)
    edges = np.linspace(-4, 4, 21)
    beyond = 0
    for _ in range(2000):
        p, q = (np.histogram(random.normal(size=n), edges)[0] / n for n in (200, 2000))
        m = (p + q) / 2
        with np.errstate(divide="ignore", invalid="ignore"):
            parts = [np.nansum(x * np.log2(x / m)) / 2 for x in (p, q)]
        beyond += sum(parts) > chance_of_numbers(200, 2000) / 4
    assert beyond <= 10


def test_titles_are_words():
    assert title_of("score/Big_heart") == "score of Big heart"
    assert title_of(IMAGE_MEAN) == "mean gray level"


def test_a_version_without_statistics_or_with_damaged_ones_is_one_line(tmp_path):
    with pytest.raises(CxrflowError, match=r"has no training_statistics.pb: an older cxrflow"):
        read_statistics(tmp_path)
    path = tmp_path / "assets.extra" / "training_statistics.pb"
    path.parent.mkdir()
    for data in (b"\xff\xff\xff", b""):
        path.write_bytes(data)
        with pytest.raises(CxrflowError, match="is damaged"):
            read_statistics(tmp_path)


def test_the_same_images_give_the_same_bytes(tmp_path):
    """Else a push of the same model would be another version."""
    made = [
        statistics_of(score_columns(scores(300, 1), CLASSES), TRAIN).SerializeToString(
            deterministic=True
        )
        for _ in range(2)
    ]
    assert made[0] == made[1]
