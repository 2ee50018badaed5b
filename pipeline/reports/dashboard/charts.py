"""The report's charts, drawn by matplotlib. All rates are on axes from 0 to 1."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from markupsafe import Markup
from matplotlib.ticker import FixedFormatter, FixedLocator, MaxNLocator, NullLocator
from scipy.special import logit

from cxrflow.pipeline.reports.dashboard.svg import (
    BAD,
    FAINT,
    GOOD,
    GRID,
    INK,
    MODEL,
    OTHER,
    SOFT,
    inline,
    new_figure,
)

_SQUARE = (3.1, 3.1)  # inches
_MARKS = {"youden": "o", "sensitivity": "^", "specificity": "s"}
_TONES = {"model": MODEL, "other": OTHER, "good": GOOD, "bad": BAD, "soft": SOFT}
# Probabilities of rare findings lie below .1: on the scale of log-odds they are told apart.
_LOG_ODDS_TICKS = (0.001, 0.01, 0.05, 0.2, 0.5, 0.8, 0.95, 0.99)


@dataclass(frozen=True)
class Row:
    """A row of a forest plot; NaN where there is none."""

    name: str
    value: float
    low: float = math.nan
    high: float = math.nan
    tone: str = "model"  # of _TONES
    reference: float = math.nan  # a hollow diamond beside it


@dataclass(frozen=True)
class Curve:
    """A line of a ROC or precision-recall chart: x and y are [n], in 0..1."""

    name: str
    x: np.ndarray
    y: np.ndarray


def forest(
    rows: Sequence[Row], axis: str, words: str, line: float | None = None, bar: str = ""
) -> Markup:
    """Estimates with their intervals, one below the other, with a vertical line to compare with."""
    figure, axes = new_figure(
        5.4, 0.52 + 0.27 * max(len(rows), 1), _names_width([row.name for row in rows])
    )
    for y, row in enumerate(rows):
        colour = _TONES[row.tone]
        if math.isfinite(row.low) and math.isfinite(row.high):
            axes.plot([row.low, row.high], [y, y], color=colour, linewidth=2.2, alpha=0.55)
        if math.isfinite(row.value):
            axes.plot(row.value, y, "o", color=colour, markersize=6)
        else:
            axes.text(0.1, y, "no figure", color=SOFT, va="center", transform=_beside(axes))
        if math.isfinite(row.reference):
            axes.plot(row.reference, y, "D", color=OTHER, markersize=5, fillstyle="none")
    if line is not None:
        axes.axvline(line, color=SOFT, linewidth=1, linestyle=(0, (4, 3)))
    axes.set_yticks(range(len(rows)), [row.name for row in rows])
    for label in axes.get_yticklabels():
        label.set_color(INK)
    axes.set_ylim(len(rows) - 0.5, -0.5)
    axes.grid(axis="y", visible=False)
    axes.spines["left"].set_visible(False)
    axes.set_xlabel(axis)
    axes.margins(x=0.06)
    axes.xaxis.set_major_locator(MaxNLocator(6))
    return inline(figure, words)


def roc(curves: Sequence[Curve], points: Mapping[str, tuple[float, float]], words: str) -> Markup:
    """ROC curves; `points`: by operating point, false positive rate and sensitivity."""
    figure, axes = _unit_square("1 − specificity", "sensitivity")
    axes.plot([0, 1], [0, 1], color=SOFT, linewidth=0.9, linestyle=(0, (4, 3)))
    for i, curve in enumerate(curves):
        axes.plot(*_thinned(curve), **_line(i))
    _mark(axes, points)
    return inline(figure, words)


def precision_recall(
    curves: Sequence[Curve], points: Mapping[str, tuple[float, float]], share: float, words: str
) -> Markup:
    """Precision over recall in steps; `points`: by operating point, recall and precision.

    A straight line between two points would promise what no threshold reaches (Davis and Goadrich,
    ICML 2006). `share`: of positives, which a coin reaches.
    """
    figure, axes = _unit_square("recall (sensitivity)", "precision")
    axes.axhline(share, color=SOFT, linewidth=0.9, linestyle=(0, (4, 3)))
    for i, curve in enumerate(curves):
        axes.plot(*_thinned(curve), drawstyle="steps-pre", **_line(i))
    _mark(axes, points)
    return inline(figure, words)


def reliability(
    predicted: np.ndarray, seen: np.ndarray, low: np.ndarray, high: np.ndarray, words: str
) -> Markup:
    """Share of positives over mean probability, by bins [n], with intervals, on square axes."""
    # Rare findings would sit in a corner of 0 to 1: the axes end where the bins do, both alike.
    top = min(1.0, _round_up(float(np.nanmax([predicted.max(), high.max()]))))
    figure, axes = new_figure(*_SQUARE)
    axes.plot([0, top], [0, top], color=SOFT, linewidth=0.9, linestyle=(0, (4, 3)))
    axes.vlines(predicted, low, np.minimum(high, top), color=MODEL, alpha=0.45, linewidth=2)
    axes.plot(predicted, seen, "o", color=MODEL, markersize=5, clip_on=False)
    axes.set(xlim=(0, top), ylim=(0, top), xlabel="mean probability", ylabel="share of positives")
    axes.set_aspect("equal")
    for one in (axes.xaxis, axes.yaxis):
        one.set_major_locator(MaxNLocator(5))
    return inline(figure, words)


def distribution(
    positives: np.ndarray, negatives: np.ndarray, thresholds: Mapping[str, float], words: str
) -> Markup:
    """How probabilities [n] of both kinds spread, on the scale of log-odds."""
    figure, axes = new_figure(3.1, 2.3)
    all_ = _log_odds(np.concatenate([positives, negatives]))
    low, high = float(all_.min()), float(all_.max())
    edges = np.linspace(low, high if high > low else low + 1, 25)
    for values, colour in ((negatives, SOFT), (positives, MODEL)):
        if len(values):
            heights, _ = np.histogram(_log_odds(values), edges)
            axes.stairs(heights / len(values), edges, fill=True, color=colour, alpha=0.22)
            axes.stairs(heights / len(values), edges, color=colour, linewidth=1.4)
    for name, threshold in thresholds.items():
        if low <= (at := float(_log_odds(np.array([threshold]))[0])) <= high:
            axes.axvline(at, color=INK, linewidth=1, linestyle=(0, (1, 2)))
            axes.plot(at, 0, _MARKS[name], color=INK, markersize=5, clip_on=False)
    ticks = [tick for tick in _LOG_ODDS_TICKS if low <= logit(tick) <= high]
    axes.xaxis.set_major_locator(FixedLocator([float(logit(tick)) for tick in ticks]))
    axes.xaxis.set_major_formatter(FixedFormatter([f"{tick:g}" for tick in ticks]))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_major_locator(MaxNLocator(4))
    axes.set(ylim=(0, None), xlabel="probability (log-odds scale)", ylabel="share of images")
    return inline(figure, words)


def bars(names: Sequence[str], values: Sequence[float], axis: str, words: str) -> Markup:
    """Horizontal bars with their values."""
    figure, axes = new_figure(5.4, 0.52 + 0.25 * max(len(names), 1), _names_width(names))
    axes.barh(range(len(names)), values, height=0.68, color=MODEL, alpha=0.8)
    top = max([*values, 0])
    for y, value in enumerate(values):
        text = f"{value:,.0f}" if value >= 10 or value == int(value) else f"{value:.1f}"
        axes.text(value + top * 0.012, y, text, va="center", color=INK)
    axes.set_yticks(range(len(names)), names)
    for label in axes.get_yticklabels():
        label.set_color(INK)
    axes.set_ylim(len(names) - 0.5, -0.5)
    axes.set_xlim(0, top * 1.14 or 1)
    axes.grid(axis="y", visible=False)
    axes.xaxis.set_major_locator(MaxNLocator(5, integer=top >= 5))
    axes.set_xlabel(axis)
    return inline(figure, words)


def history(
    names: Sequence[str],
    rows: Sequence[Row],
    axis: str,
    words: str,
) -> Markup:
    """Estimates from left to right, one a run; `names` stand below."""
    figure, axes = new_figure(max(3.6, min(9.0, 1.2 + 0.8 * len(rows))), 2.7)
    x = np.arange(len(rows))
    axes.plot(x, [row.value for row in rows], color=FAINT, linewidth=1.2)
    for i, row in enumerate(rows):
        colour = _TONES[row.tone]
        if math.isfinite(row.low) and math.isfinite(row.high):
            axes.plot([i, i], [row.low, row.high], color=colour, linewidth=2.2, alpha=0.55)
        axes.plot(i, row.value, "o" if row.tone == "good" else "X", color=colour, markersize=7)
    axes.set_xticks(x, names)
    axes.set_xlim(-0.6, len(rows) - 0.4)
    axes.margins(y=0.15)
    axes.grid(axis="x", visible=False)
    axes.set_ylabel(axis)
    return inline(figure, words)


def _names_width(names: Sequence[str]) -> float:
    """Inches that names of rows take at 9 points, at most half of a chart."""
    return min(2.7, 0.22 + 0.074 * max((len(name) for name in names), default=0))


def _unit_square(x: str, y: str) -> tuple[Any, Any]:
    figure, axes = new_figure(*_SQUARE)
    axes.set(xlim=(0, 1), ylim=(0, 1.01), xlabel=x, ylabel=y)
    axes.set_aspect("equal")
    ticks = np.linspace(0, 1, 6)
    axes.set_xticks(ticks)
    axes.set_yticks(ticks)
    return figure, axes


def _line(place: int) -> dict[str, Any]:
    """The first curve is the model's."""
    if place == 0:
        return {"color": MODEL, "linewidth": 2}
    return {"color": OTHER, "linewidth": 1.2, "linestyle": (0, (5, 2))}


def _mark(axes: Any, points: Mapping[str, tuple[float, float]]) -> None:
    for name, (x, y) in points.items():
        axes.plot(
            x,
            y,
            _MARKS[name],
            color=INK,
            markersize=6.5,
            markeredgecolor=GRID,
            markeredgewidth=0.8,
            clip_on=False,
            zorder=5,
        )


def _thinned(curve: Curve) -> tuple[np.ndarray, np.ndarray]:
    """The curve without points that the eye can't tell from those before them."""
    at = np.round(np.stack([curve.x, curve.y]) * 400)
    keep = np.append(True, np.any(np.diff(at, axis=1) != 0, axis=0))
    keep[-1] = True
    return curve.x[keep], curve.y[keep]


def _log_odds(values: np.ndarray) -> np.ndarray:
    return np.asarray(logit(np.clip(values.astype(np.float64), 1e-4, 1 - 1e-4)))


def _round_up(value: float) -> float:
    return next(
        top for top in (0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.8, 1.0, math.inf) if top >= value
    )


def _beside(axes: Any) -> Any:
    """x in shares of the axes, y in data."""
    return axes.get_yaxis_transform()
