"""Whether what was asked in a week is distributed as what a model was trained on, in words.

Distances are TFDV's: Jensen-Shannon's divergence of numbers, in bits, and the largest difference
between shares of names. What chance alone makes of them is allowed on top of the limit, so that few
answers need a large distance and many a smaller one.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import tensorflow_data_validation as tfdv
from scipy.special import expit
from scipy.stats import chi2, norm
from tensorflow_metadata.proto.v0 import schema_pb2, statistics_pb2

from cxrflow.components.monitor import statistics as stats
from cxrflow.components.monitor.columns import is_score, title_of
from cxrflow.components.monitor.settings import MonitorConfig
from cxrflow.components.monitor.statistics import Dataset, features_of, known

Status = Literal["drift", "none", "not judged"]

# Images come in clusters of one patient: so many times the variance of independent ones, as
# validate.gate.chance has it.
_DESIGN = 4.0
_LEVEL = 0.001  # of chance alone, for one feature of one week
_BUCKETS = 20  # of the histograms that TFDV lays over each other: ten each


@dataclass(frozen=True)
class Finding:
    """What one feature shows of one week."""

    feature: str  # of `columns`, or out_of_distribution
    title: str
    status: Status
    known: int  # answers that know it
    distance: float  # NaN where it isn't judged
    limit: float
    words: str  # what differs, or why it isn't judged


def judge(
    asked: Dataset, train: Dataset, held_out: Dataset, config: MonitorConfig
) -> tuple[Finding, ...]:
    """Each feature of what was asked, against training; scores against those of held-out images.

    Args:
        asked: statistics of `columns.asked_columns`.
        train: of the training images.
        held_out: of the model's scores.
        config: what is allowed.
    """
    return (
        *_compared(asked, train, config, scores=False),
        *_compared(asked, held_out, config, scores=True),
    )


def judge_unlike(flagged: int, answers: int, quantile: float, config: MonitorConfig) -> Finding:
    """The share of answers that say the image may be no chest X-ray.

    Args:
        flagged: how many.
        answers: of how many that have such a score.
        quantile: of eval's scores, which the threshold is: so many images of the training's kind
            are flagged by design.
        config: what is allowed.
    """
    title, limit = "may be no chest X-ray", max(config.max_ood_share, 1 - quantile)
    if answers < config.min_answers:
        words = f"{answers} answers have such a score, {config.min_answers} needed"
        return Finding("out_of_distribution", title, "not judged", answers, math.nan, limit, words)
    share = flagged / answers
    lowest = _wilson_low(share, answers / _DESIGN)
    words = f"{share:.1%} of the images, {limit:.1%} allowed beyond chance"
    status: Status = "drift" if lowest > limit else "none"
    return Finding("out_of_distribution", title, status, answers, share, limit, words)


def chance_of_names(asked: int, trained: int) -> float:
    """The largest difference between shares that so many answers hardly exceed by chance.

    Three standard errors of the difference of two shares of one half, as `validate.gate.chance`.
    """
    return 3 * math.sqrt(_DESIGN * 0.25 * (1 / asked + 1 / trained))


def chance_of_numbers(asked: int, trained: int) -> float:
    """The divergence, in bits, that so many answers hardly exceed by chance.

    Between two samples of one distribution in k buckets, 8 ln 2 times the divergence over
    1 / n + 1 / m is nearly a chi-squared of k - 1 degrees of freedom.
    """
    spread = _DESIGN * (1 / asked + 1 / trained)
    return float(chi2.isf(_LEVEL, _BUCKETS - 1)) * spread / (8 * math.log(2))


def _compared(
    asked: Dataset, trained: Dataset, config: MonitorConfig, scores: bool
) -> Iterator[Finding]:
    of_asked, of_trained = features_of(asked), features_of(trained)
    names = [name for name in of_asked if name in of_trained and is_score(name) == scores]
    judged = [name for name in names if not _why_not(of_asked[name], of_trained[name], config)]
    distances = _distances(asked, trained, judged)
    for name in names:
        now, then = of_asked[name], of_trained[name]
        count, title = known(now), title_of(name)
        if reason := _why_not(now, then, config):
            yield Finding(name, title, "not judged", count, math.nan, math.nan, reason)
            continue
        chance = (
            chance_of_names(count, known(then))
            if now.HasField("string_stats")
            else chance_of_numbers(count, known(then))
        )
        limit = config.max_distance + chance
        if limit >= 1:  # no distance is larger
            reason = f"{count:,} answers and {known(then):,} images of training are too few to tell"
            yield Finding(name, title, "not judged", count, math.nan, math.nan, reason)
            continue
        far = distances[name] > limit
        yield Finding(
            name,
            title,
            "drift" if far else "none",
            count,
            distances[name],
            limit,
            f"{_differs(name, now, then)}; distance {distances[name]:.3f}, {limit:.3f} allowed for "
            f"{count:,} answers",
        )


def _why_not(
    now: statistics_pb2.FeatureNameStatistics,
    then: statistics_pb2.FeatureNameStatistics,
    config: MonitorConfig,
) -> str:
    if known(now) < config.min_answers:
        return f"{known(now)} answers know it, {config.min_answers} needed"
    if known(then) < config.min_answers:
        return f"{known(then)} images of the training know it, {config.min_answers} needed"
    return ""


def _distances(asked: Dataset, trained: Dataset, names: list[str]) -> dict[str, float]:
    """TFDV's distance of each feature."""
    if not names:
        return {}
    schema = schema_pb2.Schema()
    of_asked = features_of(asked)
    for name in names:
        feature = schema.feature.add(name=name)
        text = of_asked[name].HasField("string_stats")
        feature.type = schema_pb2.BYTES if text else schema_pb2.FLOAT
        comparator = feature.drift_comparator
        measure = comparator.infinity_norm if text else comparator.jensen_shannon_divergence
        measure.threshold = 1.0
    found = tfdv.validate_statistics(
        _only(asked, names), schema, previous_statistics=_only(trained, names)
    )
    return {
        ".".join(info.path.step): info.drift_measurements[0].value for info in found.drift_skew_info
    }


def _only(dataset: Dataset, names: list[str]) -> statistics_pb2.DatasetFeatureStatisticsList:
    """A dataset of these features alone, as TFDV takes it."""
    kept = Dataset(name="", num_examples=dataset.num_examples)
    kept.features.extend(one for name, one in features_of(dataset).items() if name in names)
    return statistics_pb2.DatasetFeatureStatisticsList(datasets=[kept])


def _differs(
    name: str,
    now: statistics_pb2.FeatureNameStatistics,
    then: statistics_pb2.FeatureNameStatistics,
) -> str:
    """What was asked beside the training."""
    if now.HasField("string_stats"):
        asked, trained = stats.shares(now), stats.shares(then)
        most = max({**asked, **trained}, key=lambda k: abs(asked.get(k, 0) - trained.get(k, 0)))
        return f"{most} {asked.get(most, 0):.0%} against {trained.get(most, 0):.0%} in training"
    values = stats.median(now), stats.median(then)
    if is_score(name):
        said, usual = (f"{expit(value):.3f}" for value in values)
        return f"median {said} against {usual} on held-out images"
    said, usual = map(stats.as_text, values)
    return f"median {said} against {usual} in training"


def _wilson_low(share: float, count: float) -> float:
    """Lower end of Wilson's interval (J. Am. Stat. Assoc. 22, 1927) at `_LEVEL`, one-sided."""
    z = float(norm.isf(_LEVEL))
    middle = share + z * z / (2 * count)
    half = z * math.sqrt(share * (1 - share) / count + z * z / (4 * count * count))
    return max(0.0, (middle - half) / (1 + z * z / count))
