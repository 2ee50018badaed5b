"""How far a second version's answers are from those that clients got."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from cxrflow.components.evaluate.statistics.draws import Estimate
from cxrflow.schema.errors import CxrflowError
from cxrflow.schema.shadow import Pair, read_pairs

QUANTILES = (0.05, 0.5, 0.95)
_Z = 1.959964  # of a two-sided interval of 95 %


@dataclass(frozen=True)
class OfClass:
    """One class, over the images that both versions score."""

    name: str
    images: int
    quantiles: tuple[float, ...]  # of the second's probability less the first's, at QUANTILES
    largest: float  # difference either way
    correlation: float  # of Spearman; NaN where one says the same of all
    decided: int  # images that both decide
    added: int  # the second says yes, the first no
    removed: int

    @property
    def changed(self) -> int:
        """Decisions that differ."""
        return self.added + self.removed


@dataclass(frozen=True)
class Compared:
    """Two versions."""

    model: str
    first: int
    second: int
    point: str  # operating point of the decisions
    images: int
    begin: str  # times of the first and the last pair
    end: str
    classes: tuple[OfClass, ...]
    images_changed: int  # with a decision that differs
    flags_changed: int  # images that one alone takes for no chest X-ray
    flagged: int  # images of which both say whether
    seconds: float  # median of the second version's
    others: dict[str, int]  # pairs of other versions or points
    synthetic: bool  # a version was trained on phantoms

    @property
    def share_changed(self) -> Estimate:
        """Share of images with a decision that differs, with Wilson's interval (1927)."""
        return share(self.images_changed, self.images)


def share(part: int, of: int) -> Estimate:
    """A share with its interval of 95 %, for images of which each is another patient's."""
    if not of:
        return Estimate()
    p, z2 = part / of, _Z * _Z
    middle = (p + z2 / (2 * of)) / (1 + z2 / of)
    half = _Z * np.sqrt(p * (1 - p) / of + z2 / (4 * of * of)) / (1 + z2 / of)
    return Estimate(p, float(max(0.0, middle - half)), float(min(1.0, middle + half)))


def compare(logs: Sequence[Path]) -> Compared:
    """The two versions of the last pair, over all their pairs.

    Raises:
        CxrflowError: a log can't be read, or has no pair.
    """
    by_versions: dict[tuple[str, int, int, str], list[Pair]] = {}
    last = None
    for log in logs:
        for pair in read_pairs(log):
            key = (pair.model, pair.first.version, pair.second.version, pair.point)
            by_versions.setdefault(key, []).append(pair)
            if last is None or pair.time >= last[0]:
                last = pair.time, key
    if last is None:
        raise CxrflowError(
            f"{', '.join(map(str, logs))}: no pair of answers; `cxrflow serve --shadow LABEL` "
            "writes them"
        )
    others = Counter(
        {
            f"{key[0]} {key[1]} against {key[2]} at {key[3]}": len(found)
            for key, found in by_versions.items()
            if key != last[1]
        }
    )
    return _compared(last[1], by_versions[last[1]], dict(others.most_common()))


def _compared(
    key: tuple[str, int, int, str], found: list[Pair], others: dict[str, int]
) -> Compared:
    model, first, second, point = key
    names = [name for name in found[0].first.scores if name in found[0].second.scores]
    flags = [(pair.first.flagged, pair.second.flagged) for pair in found]
    flags = [both for both in flags if None not in both]
    return Compared(
        model,
        first,
        second,
        point,
        len(found),
        min(pair.time for pair in found),
        max(pair.time for pair in found),
        tuple(_of_class(name, found) for name in names),
        sum(pair.differs() for pair in found),
        sum(one != other for one, other in flags),
        len(flags),
        float(np.median([pair.seconds for pair in found])),
        others,
        any(pair.synthetic for pair in found),
    )


def _of_class(name: str, found: list[Pair]) -> OfClass:
    from scipy.stats import spearmanr

    both = [pair for pair in found if name in pair.first.scores and name in pair.second.scores]
    scores = np.array([(pair.first.scores[name], pair.second.scores[name]) for pair in both])
    difference = scores[:, 1] - scores[:, 0]
    varies = len(scores) > 1 and bool(np.ptp(scores, axis=0).all())
    decisions = [(pair.first.decisions.get(name), pair.second.decisions.get(name)) for pair in both]
    decided = [(one, other) for one, other in decisions if one is not None and other is not None]
    return OfClass(
        name,
        len(both),
        tuple(float(q) for q in np.quantile(difference, QUANTILES)),
        float(np.abs(difference).max()),
        float(spearmanr(*scores.T).statistic) if varies else float("nan"),
        len(decided),
        decided.count((False, True)),
        decided.count((True, False)),
    )
