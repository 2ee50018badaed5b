"""Pages of curves: ROC and precision-recall with operating points; calibration; distributions."""

import math
from collections.abc import Callable

import numpy as np
from sklearn.metrics import (
    average_precision_score,
    precision_recall_curve,
    roc_auc_score,
    roc_curve,
)

from cxrflow.components.evaluate.ece import bin_sums, equal_mass_edges, expected_calibration_error
from cxrflow.components.evaluate.results import too_few
from cxrflow.components.evaluate.statistics.draws import Draws
from cxrflow.components.floor.settings import PROBE
from cxrflow.components.score.files import Scores
from cxrflow.pipeline.reports.dashboard import charts
from cxrflow.pipeline.reports.dashboard.blocks import (
    Chart,
    Grid,
    Missing,
    Section,
    Text,
    finding,
)
from cxrflow.pipeline.reports.dashboard.evidence import NO_SCORES, Evidence
from cxrflow.pipeline.reports.dashboard.operating import (
    counts_at,
    rate,
    thresholds,
)
from cxrflow.pipeline.reports.dashboard.predictions import DRAWS

_BINS = 8  # of a reliability diagram: fewer than the ECE's, so that each has its interval
_POINTS_NOTE = (
    "● Youden, ▲ set for sensitivity, ■ set for specificity: chosen on eval, drawn where they lie "
    "on test."
)


def _without(what: str, found: Evidence) -> list[Section]:
    return [Section("", (Missing(what, found.lacking("scores", NO_SCORES)),))]


def _each(found: Evidence, read: Scores, draw: Callable[[int, str], Chart]) -> Grid:
    """A chart for each class, or words where it has too few positives or negatives."""
    items: list[Chart | Missing] = []
    for place, name in enumerate(found.classes):
        labels = read.images.labels[:, place]
        few = too_few(int((labels == 1).sum()), int((labels == 0).sum()), found.run.min_shown)
        if few:
            items.append(Missing(finding(name), f"Nothing to draw: {few}."))
        elif not np.isfinite(read.probabilities[:, place]).all():
            items.append(
                Missing(finding(name), "Nothing to draw: probabilities that are not finite.")
            )
        else:
            items.append(draw(place, name))
    return Grid(tuple(items))


def curve_sections(found: Evidence) -> list[Section]:
    """ROC and precision-recall of each class, all on axes from 0 to 1."""
    read = found.scored("test")
    if read is None or not len(read.images.labels):
        return _without("ROC and precision-recall curves", found)
    probe = found.predictions.get(PROBE, {}).get("test")
    probe = probe if probe and np.array_equal(probe.images.image_id, read.images.image_id) else None
    draws = Draws.of(read.images.patient_id, 1)  # the charts show no interval
    said = f"{_POINTS_NOTE}" + (
        " Dashed orange: the linear probe on frozen features." if probe else ""
    )

    def one_roc(place: int, name: str) -> Chart:
        known = read.known(place)
        truth, p = read.images.labels[known, place] > 0, read.probabilities[known, place]
        curves = [charts.Curve("model", *_roc(truth, p))]
        if probe:
            curves.append(charts.Curve(PROBE, *_roc(truth, probe.probabilities[known, place])))
        at = counts_at(read, place, thresholds(found.info, name), draws)
        points = {p: (c.false_rate, c.sensitivity.value) for p, c in at.items()}
        auc = roc_auc_score(truth, p)
        note = f"AUC {auc:.3f}, {int(truth.sum()):,} of {len(truth):,} positive"
        return Chart(
            finding(name), charts.roc(curves, points, f"ROC curve of {name}: {note}."), note
        )

    def one_pr(place: int, name: str) -> Chart:
        known = read.known(place)
        truth, p = read.images.labels[known, place] > 0, read.probabilities[known, place]
        curves = [charts.Curve("model", *pr_points(truth, p))]
        if probe:
            curves.append(charts.Curve(PROBE, *pr_points(truth, probe.probabilities[known, place])))
        at = counts_at(read, place, thresholds(found.info, name), draws)
        points = {
            p: (c.sensitivity.value, c.precision.value)
            for p, c in at.items()
            if math.isfinite(c.precision.value)
        }
        area = average_precision_score(truth, p)
        share = float(truth.mean())
        note = f"AUPRC {area:.3f}, a coin {share:.3f}"
        words = f"Precision-recall curve of {name}: {note}."
        return Chart(finding(name), charts.precision_recall(curves, points, share, words), note)

    return [
        Section("ROC curves", (Text(said, "note"), _each(found, read, one_roc))),
        Section(
            "Precision-recall curves",
            (
                Text(
                    "In steps: between two thresholds nothing better than the lower precision is "
                    "promised, and the area under the steps is the AUPRC (average precision). "
                    "Dashed gray: what a coin reaches.",
                    "note",
                ),
                _each(found, read, one_pr),
            ),
        ),
    ]


def _roc(truth: np.ndarray, probabilities: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    x, y, _ = roc_curve(truth, probabilities, drop_intermediate=False)
    return x, y


def pr_points(truth: np.ndarray, probabilities: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Recall, rising, and precision, for steps that end at their own point."""
    precision, recall, _ = precision_recall_curve(truth, probabilities)
    # scikit-learn adds a point at recall 0 and precision 1, which no threshold has.
    return np.append(0.0, recall[-2::-1]), np.append(precision[-2], precision[-2::-1])


def calibration_sections(found: Evidence) -> list[Section]:
    """Reliability diagrams and how probabilities spread."""
    read = found.scored("test")
    if read is None or not len(read.images.labels):
        return _without("Reliability diagrams and distributions of scores", found)
    draws = Draws.of(read.images.patient_id, DRAWS)

    def one_reliability(place: int, name: str) -> Chart:
        known = read.known(place)
        truth = read.images.labels[known, place]
        p = read.probabilities[known, place].astype(np.float64)
        of_bin = np.searchsorted(np.unique(equal_mass_edges(p, _BINS)), p)
        counts, sums, _ = bin_sums(truth, p, _BINS)
        filled = np.flatnonzero(counts)
        seen = [rate(truth > 0, of_bin == k, draws.within(known)) for k in filled]
        shown = charts.reliability(
            sums[filled] / counts[filled],
            np.array([one.value for one in seen]),
            np.array([one.low for one in seen]),
            np.array([one.high for one in seen]),
            f"Reliability diagram of {name}: mean probability and share of positives by bin: "
            + "; ".join(
                f"{s / n:.3f} and {e.value:.3f}"
                for s, n, e in zip(sums[filled], counts[filled], seen, strict=True)
            ),
        )
        note = (
            f"ECE {expected_calibration_error(truth, p):.3f}; mean probability {p.mean():.3f}, "
            f"positive {truth.mean():.3f}"
        )
        return Chart(finding(name), shown, note)

    def one_distribution(place: int, name: str) -> Chart:
        known = read.known(place)
        truth, p = read.images.labels[known, place] > 0, read.probabilities[known, place]
        middle = [float(np.median(p[truth])), float(np.median(p[~truth]))]
        note = f"medians {middle[0]:.3f} with the finding, {middle[1]:.3f} without"
        shown = charts.distribution(
            p[truth], p[~truth], thresholds(found.info, name), f"Probabilities of {name}: {note}."
        )
        return Chart(finding(name), shown, note)

    return [
        Section(
            "Reliability",
            (
                Text(
                    f"Images in {_BINS} groups of equal size by probability: on the dashed line, "
                    "so many are positive as the model says. Bars: 95 % intervals over patients. "
                    "Both axes of a chart end at the same value.",
                    "note",
                ),
                _each(found, read, one_reliability),
            ),
        ),
        Section(
            "Distribution of scores",
            (
                Text(
                    "Blue: images with the finding; gray: without. Each kind sums to 1. Dotted "
                    "lines are the operating points. " + _POINTS_NOTE,
                    "note",
                ),
                _each(found, read, one_distribution),
            ),
        ),
    ]
