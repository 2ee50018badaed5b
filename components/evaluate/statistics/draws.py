"""Draws of patients with replacement, and what is estimated on each of them.

A patient's images resemble each other, so that patients are drawn and all images of one come along
as often as the patient was drawn (cluster bootstrap; Field and Welsh, J. R. Stat. Soc. B 69, 2007).
Column 0 of whatever is drawn is the data as they are.
"""

import math
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np

CONFIDENCE = 0.95  # of every interval that is shown


@dataclass(frozen=True)
class Draws:
    """How often each patient counts in each draw."""

    of_image: np.ndarray  # int [N], the patient of each image
    times: np.ndarray  # float64 [P, 1 + draws], whole numbers; the first column is all ones

    @classmethod
    def of(cls, patients: np.ndarray, draws: int, seed: int = 0) -> "Draws":
        """As many patients as there are, drawn `draws` times.

        patients: [N], of any type that sorts.
        """
        names, of_image = np.unique(patients, return_inverse=True)
        if not len(names):
            return cls(of_image, np.ones((0, 1 + draws)))
        equal = np.full(len(names), 1 / len(names))
        drawn = np.random.default_rng(seed).multinomial(len(names), equal, size=draws)
        times = np.concatenate([np.ones((1, len(names))), drawn]).T
        return cls(of_image, np.ascontiguousarray(times))

    def within(self, images: np.ndarray) -> "Draws":
        """These draws for some images alone: those of a mask, bool [N], or of indices, int [n]."""
        return Draws(self.of_image[images], self.times)

    def sums(self, values: np.ndarray) -> np.ndarray:
        """Sum over the images of values [N] on each draw, float64 [1 + draws]."""
        by_patient = np.bincount(self.of_image, weights=values, minlength=len(self.times))
        return by_patient @ self.times

    def means(self, values: np.ndarray) -> np.ndarray:
        """Mean over the images of values [N] on each draw; NaN on a draw without images."""
        with np.errstate(invalid="ignore"):
            return self.sums(values) / self.sums(np.ones(len(values)))


@dataclass(frozen=True)
class Estimate:
    """A figure and its interval of 95 %; NaN where there is none."""

    value: float = math.nan
    low: float = math.nan
    high: float = math.nan

    def __str__(self) -> str:
        if math.isnan(self.value):
            return "unknown"
        if math.isnan(self.low):
            return f"{self.value:.3f}"
        return f"{self.value:.3f} ({self.low:.3f} to {self.high:.3f})"


UNKNOWN = Estimate()


def estimate(drawn: np.ndarray) -> Estimate:
    """The percentile interval (Efron and Tibshirani, An Introduction to the Bootstrap, 1993).

    drawn: [1 + draws]; draws that are NaN say nothing and are left out.
    """
    known = drawn[1:][np.isfinite(drawn[1:])]
    if not math.isfinite(drawn[0]) or not len(known):
        return Estimate(float(drawn[0]))
    tail = (1 - CONFIDENCE) / 2
    low, high = np.quantile(known, [tail, 1 - tail])
    return Estimate(float(drawn[0]), float(low), float(high))


def pivotal(drawn: np.ndarray) -> Estimate:
    """The basic interval, mirrored at the figure, which takes the draws' own bias away.

    For an ECE: noise alone makes it positive, and makes it larger on a draw than on the data.
    """
    found = estimate(drawn)
    return Estimate(found.value, 2 * found.value - found.high, 2 * found.value - found.low)


def below_zero(drawn: np.ndarray, comparisons: int = 1) -> bool:
    """Whether a difference is below 0 by more than chance, at 95 % for all comparisons together.

    One comparison: its percentile interval lies below 0. Several: the same for each of them at
    Bonferroni's level, from the normal distribution with the draws' standard deviation, as a
    thousand draws have too few in tails that thin.
    """
    if comparisons == 1:
        return estimate(drawn).high < 0
    known = drawn[1:][np.isfinite(drawn[1:])]
    if len(known) < 2 or not math.isfinite(drawn[0]):
        return False
    z = NormalDist().inv_cdf(1 - (1 - CONFIDENCE) / (2 * comparisons))
    return bool(drawn[0] + z * np.std(known, ddof=1) < 0)


def mean_of(drawn: np.ndarray) -> np.ndarray:
    """Mean over the first axis, [K, 1 + draws] -> [1 + draws], of those that are no NaN.

    Only rows count that are known on the data as they are; NaN if none is.
    """
    rows = drawn[np.isfinite(drawn[:, 0])] if len(drawn) else drawn
    known = np.isfinite(rows)
    counts = known.sum(axis=0)
    sums = np.where(known, rows, 0.0).sum(axis=0)
    return np.where(counts > 0, sums / np.maximum(counts, 1), np.nan)
