"""What a user sees of a variant: its decisions at the operating points, against its source's.

A variant may decide by thresholds of its own, fitted to the source's decisions. What is told of
them is what patients show that they weren't fitted on: each fold's decisions are by thresholds of
the other folds.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from cxrflow.components.edge.parity.parity import interval_of
from cxrflow.components.edge.parity.report import DecisionParity, PointParity
from cxrflow.components.evaluate.statistics.draws import Draws

POINTS = ("youden", "sensitivity", "specificity")  # of model.json's thresholds
# A threshold is the probability of an image on eval, which any rounding puts on either side. Images
# that near to it are no decisions to compare: among others than eval's there are none.
_TIE = 1e-5

# model.json's: by class, None where it has none; in it by point, None where that has none.
Thresholds = Mapping[str, Mapping[str, Mapping[str, float] | None] | None]


@dataclass(frozen=True)
class Decided:
    """A variant's decisions."""

    points: dict[str, PointParity]  # those at which a class has a threshold
    thresholds: Thresholds | None  # its own; None where it does as well by its source's


class Decisions:
    """Compares the decisions of variants with those of one source on the same images."""

    def __init__(
        self,
        source: np.ndarray,
        labels: np.ndarray,
        patients: np.ndarray,
        classes: Sequence[str],
        thresholds: Thresholds,
        folds: int,
        draws: int,
        seed: int = 0,
    ):
        """Decides as the source does.

        Args:
            source: its probabilities [N, C], finite.
            labels: k-hot [N, C].
            patients: [N], of any type that sorts.
            classes: names, in the order of the columns.
            thresholds: the source's, as model.json holds them.
            folds: in which patients are parted, to see what fitted thresholds do to others.
            draws: how many times patients are drawn for the intervals.
            seed: of folds and draws.
        """
        self._labels, self._classes, self._thresholds = labels, list(classes), thresholds
        self._draws = Draws.of(patients, draws, seed)
        self._folds = patient_folds(patients, folds, seed)
        self._by_point = {
            point: found
            for point in POINTS
            if (
                np.abs(source - (found := point_thresholds(thresholds, classes, point))) > _TIE
            ).any()
        }
        self._wanted = {point: source >= found for point, found in self._by_point.items()}
        # bool [N, C]; False where there is no threshold.
        self._known = {
            point: np.abs(source - found) > _TIE for point, found in self._by_point.items()
        }

    def compare(self, variant: np.ndarray, may_fit: bool = True) -> Decided:
        """Returns what a variant decides by probabilities [N, C], finite, in the source's order.

        With `may_fit`, by thresholds of its own if these change fewer of the decisions, as seen on
        patients they weren't fitted on.
        """
        plain = {point: variant >= found for point, found in self._by_point.items()}
        fitted = None
        if may_fit and len(np.unique(self._folds)) > 1:
            fitted = {
                point: self._held_out(variant, self._wanted[point], found)
                for point, found in self._by_point.items()
            }
        if fitted is None or self._wrong(fitted) >= self._wrong(plain):
            return Decided(self._changes(plain), None)
        return Decided(self._changes(fitted), self._own(variant))

    def _held_out(self, variant: np.ndarray, wanted: np.ndarray, start: np.ndarray) -> np.ndarray:
        found = np.empty_like(wanted)
        for fold in np.unique(self._folds):
            out = self._folds == fold
            found[out] = variant[out] >= fit_thresholds(variant[~out], wanted[~out], start)
        return found

    def _own(self, variant: np.ndarray) -> dict[str, Any]:
        """As model.json holds thresholds: fitted on all images."""
        cuts = {
            point: fit_thresholds(variant, self._wanted[point], start)
            for point, start in self._by_point.items()
        }
        found: dict[str, Any] = {}
        for column, name in enumerate(self._classes):
            of_source = self._thresholds.get(name)
            found[name] = None if of_source is None else dict(of_source)
            for point, old in (of_source or {}).items():
                if old and point in cuts:
                    cut = float(cuts[point][column])
                    known = ~np.isnan(self._labels[:, column])
                    truth = self._labels[known, column] > 0
                    rates = _rates(truth, variant[known, column] >= cut)
                    found[name][point] = {**old, "threshold": cut, **rates}
        return found

    def _wrong(self, decided: Mapping[str, np.ndarray]) -> int:
        return sum(
            int(((found != self._wanted[point]) & self._known[point]).sum())
            for point, found in decided.items()
        )

    def _changes(self, decided: Mapping[str, np.ndarray]) -> dict[str, PointParity]:
        return {
            point: self._change(found, self._wanted[point], self._known[point])
            for point, found in decided.items()
        }

    def _change(self, found: np.ndarray, wanted: np.ndarray, known: np.ndarray) -> PointParity:
        added, removed = found & ~wanted & known, wanted & ~found & known
        return PointParity(
            total=self._count(added, removed, known),
            images=len(found),
            images_changed=int((added | removed).any(axis=1).sum()),
            classes={
                name: self._count(*(one[:, [column]] for one in (added, removed, known)))
                for column, name in enumerate(self._classes)
                if known[:, column].any()
            },
        )

    def _count(self, added: np.ndarray, removed: np.ndarray, known: np.ndarray) -> DecisionParity:
        changed = added | removed
        with np.errstate(invalid="ignore"):  # a draw may have nothing but ties
            shares = self._draws.sums(changed.sum(axis=1)) / self._draws.sums(known.sum(axis=1))
        return DecisionParity(
            decisions=int(known.sum()),
            changed=int(changed.sum()),
            share=float(changed.sum() / known.sum()),
            interval=interval_of(shares),
            added=int(added.sum()),
            removed=int(removed.sum()),
        )


def point_thresholds(thresholds: Thresholds, classes: Sequence[str], point: str) -> np.ndarray:
    """Thresholds of all classes at a point, [C]; NaN where there is none: nothing is positive."""
    found = [((thresholds.get(name) or {}).get(point) or {}).get("threshold") for name in classes]
    return np.array([np.nan if one is None else one for one in found], np.float64)


def fit_thresholds(variant: np.ndarray, wanted: np.ndarray, start: np.ndarray) -> np.ndarray:
    """Thresholds by which probabilities decide most like `wanted`, class by class.

    Args:
        variant: probabilities [N, C].
        wanted: bool [N, C].
        start: thresholds [C] of which nothing better is known; NaN stays.

    Returns:
        float64 [C], each a float32 number. Among the best, those nearest to `start`.
    """
    columns = zip(variant.T, wanted.T, start, strict=True)
    return np.array([np.nan if np.isnan(s) else _fit_one(p, y, s) for p, y, s in columns])


def _fit_one(probabilities: np.ndarray, wanted: np.ndarray, start: float) -> float:
    order = np.argsort(probabilities, kind="stable")
    ranked, positive = probabilities[order].astype(np.float64), wanted[order]
    # A cut before place k calls ranked[k:] positive; equal values can't be parted.
    missed = np.r_[0, np.cumsum(positive)]
    wrong = missed + np.r_[np.cumsum(~positive[::-1])[::-1], 0]
    places = np.flatnonzero(np.r_[True, ranked[1:] != ranked[:-1], True])
    best = places[wrong[places] == wrong[places].min()]
    lows = np.r_[-np.inf, ranked][best]  # a threshold lies above this ...
    highs = np.r_[ranked, np.inf][best]  # ... and at this or below it
    if np.any((lows < start) & (start <= highs)):
        return float(np.float32(start))
    with np.errstate(invalid="ignore"):
        middles = (lows + highs) / 2
    middles = np.where(np.isinf(lows), highs, np.where(np.isinf(highs), lows, middles))
    one = int(np.argmin(np.abs(middles - start)))
    found = np.float32(middles[one])
    return float(found if found > lows[one] else np.nextafter(np.float32(lows[one]), np.float32(2)))


def _rates(positive: np.ndarray, called: np.ndarray) -> dict[str, float]:
    """Sensitivity and specificity; none without positives or without negatives."""
    if positive.all() or not positive.any():
        return {}
    return {
        "sensitivity": float(called[positive].mean()),
        "specificity": float((~called[~positive]).mean()),
    }


def patient_folds(patients: np.ndarray, folds: int, seed: int) -> np.ndarray:
    """A fold's number for each image [N], the same for all of a patient's."""
    names, of_image = np.unique(patients, return_inverse=True)
    numbers = np.arange(len(names)) % folds
    return np.random.default_rng(seed).permutation(numbers)[of_image]
