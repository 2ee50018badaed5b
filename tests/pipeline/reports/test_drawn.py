"""What the page of plots draws, integrated in headless Chromium as it is drawn."""

import re

import numpy as np
import pytest
from google.protobuf.json_format import MessageToDict

from cxrflow.components.evaluate.plots import class_plots
from cxrflow.components.evaluate.scores import class_scores
from cxrflow.pipeline.reports.dashboard.evaluations import Evaluation, plot_views
from cxrflow.pipeline.reports.dashboard.frame import write_pages
from cxrflow.pipeline.reports.dashboard.run_folder import RunFolder
from cxrflow.pipeline.reports.dashboard.tfma_pages import copy_scripts, plots_page
from tests.pipeline.reports.browser import DEEP, assert_clean

pytestmark = pytest.mark.tf

FEW = 10
# By class: labels and probabilities; corners in every awkward place.
HAND_MADE = {
    "Ties": ([0, 1, 0, 1, 1, 0, 0, 1] * 3, [0.9, 0.9, 0.9, 0.5, 0.5, 0.5, 0.1, 0.1] * 3),
    "One positive": ([0, 1, 0, 0], [0.9, 0.8, 0.2, 0.1]),
    "All equal": ([0, 1, 1, 0, 0], [0.3] * 5),
    "Negatives first": ([0, 0, 0, 1, 1, 1], [0.9, 0.8, 0.7, 0.4, 0.2, 0.1]),
    "Perfect": ([1, 1, 0, 0], [0.9, 0.8, 0.2, 0.1]),
    "Many": None,  # thousands at random, thinned
    "No positive": ([0, 0, 0], [0.1, 0.2, 0.3]),
}
# All paths below an element, through shadow roots.
PATHS = """
(element => {
  const found = [];
  (function visit(node) {
    found.push(...node.querySelectorAll('path'));
    for (const child of node.querySelectorAll('*')) if (child.shadowRoot) visit(child.shadowRoot);
  })(element.shadowRoot);
  return found.map(path => path.getAttribute('d'));
})
"""


def hand_made() -> Evaluation:
    """An evaluation of HAND_MADE, as `load` gives it."""
    metrics, plots = {}, {}
    for name, rows in HAND_MADE.items():
        if rows is None:
            rng = np.random.default_rng(0)
            labels = rng.random(4000) < 0.1
            rows = labels, (labels * 0.3 + rng.random(4000)) / 1.3
        labels, probabilities = (np.array(column, np.float32) for column in rows)
        metrics[name] = class_scores(labels, probabilities)
        plots[name] = {"matrices": [], "buckets": []}
        for key, plot in class_plots(labels, probabilities, 0, "candidate").items():
            kind = {"calibration_plot": "buckets"}.get(key.name, "matrices")
            plots[name][kind] = MessageToDict(plot)[kind]
    classes = tuple(HAND_MADE)
    return Evaluation(classes, {"test": metrics}, {"test": 9}, {"test": plots})


def drawn_points(curve: str, frame: str) -> np.ndarray:
    """Points [n, 2] in the data's units of a path in a frame from 0 to 1."""
    left, top, bottom, right = map(float, re.fullmatch(r"M(.+),(.+)V(.+)H(.+)", frame).groups())
    pixels = np.array([point.split(",") for point in curve[1:].split("L")], float)
    return np.column_stack(
        [(pixels[:, 0] - left) / (right - left), (bottom - pixels[:, 1]) / (bottom - top)]
    )


def test_drawn_areas_are_the_reported_ones(tab, tmp_path):
    run = RunFolder(tmp_path, {}, {}, tmp_path, synthetic=False, min_shown=FEW)
    evaluation = hand_made()
    page = plots_page(run, "hand", evaluation, {"hand": "plots-hand.html"})
    write_pages([page], "run x", run.synthetic, tmp_path)
    copy_scripts(tmp_path)
    tab.open(tmp_path / "plots-hand.html", f"{DEEP}('svg').length >= {3 * len(HAND_MADE) - 2}")
    sizes = set()
    for component, score in (
        ("tfma-precision-recall-curve", "auc_precision_recall"),
        ("tfma-roc-curve", "auc"),
    ):
        paths = tab.evaluate(f"[...document.querySelectorAll('.plots {component}')].map({PATHS})")
        with_curves = [name for name in HAND_MADE if name != "No positive"]
        for name, (frame, *_, curve) in zip(with_curves, paths, strict=True):
            sizes.add(frame)
            x, y = drawn_points(curve, frame).T
            assert min(x.min(), y.min()) > -0.001 and max(x.max(), y.max()) < 1.001
            area = abs(np.trapezoid(y, x))
            assert area == pytest.approx(evaluation.metrics["test"][name][score], abs=0.002), name
            if score != "auc":  # steps: each line is level or upright
                assert ((np.abs(np.diff(x)) < 0.001) | (np.abs(np.diff(y)) < 0.001)).all()
    assert len(sizes) == 1
    titles = tab.evaluate("[...document.querySelectorAll('.plots h2')].map(e => e.textContent)")
    assert titles[1] == "One positive: 1 of 4 images positive, no AUC (too few: 1 positive)"
    many = evaluation.metrics["test"]["Many"]
    assert titles[5].endswith(f"AUC {many['auc']:.3f}, AUPRC {many['auc_precision_recall']:.3f}")
    assert_clean(tab)


def test_a_class_of_one_kind_alone_has_no_curves():
    found = plot_views(hand_made(), "test", FEW)
    assert not found["Ties"]["missing"]
    assert set(found["No positive"]["missing"]) == {"ROC", "precision-recall"}
