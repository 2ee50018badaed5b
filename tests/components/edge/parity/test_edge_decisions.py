"""Decisions of a variant against its source's, by hand."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cxrflow.components.edge.parity.decisions import Decisions, fit_thresholds, patient_folds

SOURCE = np.array(
    [[0.9, 0.2], [0.8, 0.7], [0.4, 0.6], [0.1, 0.1], [0.6, 0.3], [0.2, 0.8]], np.float32
)
LABELS = (SOURCE > 0.5).astype(float)
PATIENTS = np.arange(6)
THRESHOLDS = {
    "Mass": {"youden": {"threshold": 0.5}, "sensitivity": {"threshold": 0.15, "target": 0.9}},
    "Nodule": {"youden": {"threshold": 0.5}, "sensitivity": None},
}


def decisions(source=SOURCE, labels=LABELS, patients=PATIENTS, folds=3, thresholds=THRESHOLDS):
    return Decisions(
        source, labels, patients, ["Mass", "Nodule"], thresholds, folds=folds, draws=50
    )


def test_changes_are_counted_in_each_direction_by_class_and_by_image():
    variant = SOURCE.copy()
    variant[0] = [0.4, 0.6]  # Mass is removed, Nodule added: one image with another set
    variant[3] = [0.55, 0.1]  # Mass is added
    found = decisions().compare(variant, may_fit=False)
    assert found.thresholds is None and found.points.keys() == {"youden", "sensitivity"}
    youden = found.points["youden"]
    total = youden.total
    assert (total.decisions, total.changed, total.added, total.removed) == (12, 3, 2, 1)
    assert total.share == pytest.approx(0.25)
    assert (youden.images, youden.images_changed) == (6, 2)
    mass, nodule = youden.classes["Mass"], youden.classes["Nodule"]
    assert (mass.decisions, mass.added, mass.removed) == (6, 1, 1)
    assert (nodule.decisions, nodule.added, nodule.removed) == (6, 1, 0)
    low, high = total.interval
    assert 0 <= low < 0.25 < high
    # At `sensitivity` only Mass has a threshold, .15, which image 3 passes now.
    sensitive = found.points["sensitivity"]
    assert sensitive.classes.keys() == {"Mass"}
    assert (sensitive.total.decisions, sensitive.total.added, sensitive.total.removed) == (6, 1, 0)


def test_the_source_itself_changes_nothing():
    found = decisions().compare(SOURCE)
    assert found.thresholds is None
    assert all(one.total.changed == one.images_changed == 0 for one in found.points.values())
    assert found.points["youden"].total.interval == (0, 0)


def test_an_image_that_a_threshold_was_taken_from_is_no_decision():
    """Its probability is the threshold: any rounding puts it on either side."""
    thresholds = {"Mass": {"youden": {"threshold": float(SOURCE[1, 0])}}, "Nodule": None}
    found = decisions(thresholds=thresholds).compare(SOURCE - np.float32(2e-6), may_fit=False)
    total = found.points["youden"].total
    assert (total.decisions, total.changed) == (5, 0)


def test_a_patients_images_are_drawn_together():
    """One of two patients has all changes: on a draw all decisions change, half, or none."""
    source = np.full((4, 2), 0.9, np.float32)
    variant = source.copy()
    variant[:2] = 0.1
    thresholds = {name: {"youden": {"threshold": 0.5}} for name in ("Mass", "Nodule")}
    patients = np.array([1, 1, 2, 2])
    found = decisions(source, source, patients, thresholds=thresholds).compare(variant, False)
    assert found.points["youden"].total.share == 0.5
    assert found.points["youden"].total.interval == (0, 1)


def shifted(count=200):
    """A source, its labels, and a variant that is lower by a third in all it says."""
    source = np.random.default_rng(1).uniform(0, 1, (count, 2)).astype(np.float32)
    return source, (source > 0.6).astype(float), source * np.float32(2 / 3)


def test_a_shift_is_made_up_for_by_thresholds_of_its_own():
    source, labels, variant = shifted()
    some = decisions(source, labels, np.arange(200) // 2, folds=5)
    plain = some.compare(variant, may_fit=False)
    assert plain.points["youden"].total.share > 0.2
    own = some.compare(variant)
    assert own.points["youden"].total.share < 0.02
    youden = own.thresholds["Mass"]["youden"]
    assert youden["threshold"] == pytest.approx(0.5 * 2 / 3, abs=0.01)
    called = variant[:, 0] >= youden["threshold"]
    assert youden["sensitivity"] == pytest.approx(called[labels[:, 0] > 0].mean())
    assert youden["specificity"] == pytest.approx((~called)[labels[:, 0] == 0].mean())
    assert own.thresholds["Mass"]["sensitivity"]["target"] == 0.9
    assert own.thresholds["Nodule"]["sensitivity"] is None
    assert own.thresholds.keys() == THRESHOLDS.keys()


def test_what_is_told_is_of_patients_that_thresholds_were_not_fitted_on():
    """Noise can be learnt by heart, one image a class: held out, it shows."""
    random = np.random.default_rng(2)
    source = random.uniform(0, 1, (40, 2)).astype(np.float32)
    variant = random.uniform(0, 1, (40, 2)).astype(np.float32)
    some = decisions(source, (source > 0.6).astype(float), np.arange(40), folds=5)
    start = np.array([0.5, 0.5])
    wanted = source >= start
    learnt = ((variant >= fit_thresholds(variant, wanted, start)) != wanted).mean()
    assert some.compare(variant).points["youden"].total.share > learnt


def test_one_patient_leaves_the_sources_thresholds():
    source, labels, variant = shifted(10)
    found = decisions(source, labels, np.zeros(10)).compare(variant)
    assert found.thresholds is None


@pytest.mark.parametrize(
    ("wanted", "start", "threshold"),
    [
        ([0, 0, 1, 1, 1], 0.05, 0.25),
        ([0, 0, 1, 1, 1], 0.27, 0.27),  # as good as any, and known
        ([0, 1, 0, 1, 1], 0.9, 0.35),  # one wrong either way: the nearer
        ([0, 1, 0, 1, 1], 0.0, 0.15),
        ([1, 1, 1, 1, 1], 0.45, 0.1),
        ([0, 0, 0, 0, 0], 0.05, 0.5),  # just above all
        ([0, 0, 0, 0, 0], 0.9, 0.9),
        ([0, 0, 0, 0, 1], np.nan, np.nan),
    ],
)
def test_fitted_thresholds_by_hand(wanted, start, threshold):
    variant = np.array([[0.1], [0.2], [0.3], [0.4], [0.5]], np.float32)
    wanted = np.array(wanted, bool)[:, None]
    (found,) = fit_thresholds(variant, wanted, np.array([start]))
    np.testing.assert_allclose(found, threshold, atol=1e-6)
    if not np.isnan(threshold):
        assert found == np.float32(found)
        assert ((variant >= found) != wanted).sum() == (1 if wanted[1] and not wanted[2] else 0)


@given(
    st.lists(st.tuples(st.floats(0, 1, width=32), st.booleans()), min_size=1, max_size=12),
    st.floats(0, 1, width=32),
)
def test_no_threshold_decides_better_than_a_fitted_one(pairs, start):
    variant = np.array([[p] for p, _ in pairs], np.float32)
    wanted = np.array([[y] for _, y in pairs])
    (found,) = fit_thresholds(variant, wanted, np.array([start]))
    wrong = ((variant >= found) != wanted).sum()
    tried = [*variant[:, 0], start, np.nextafter(variant.max(), np.float32(2))]
    assert wrong == min(((variant >= one) != wanted).sum() for one in tried)


@given(st.lists(st.integers(0, 9), min_size=1, max_size=60), st.integers(2, 7))
def test_folds_part_no_patient(patients, folds):
    found = patient_folds(np.array(patients), folds, 0)
    by_patient = {p: set(found[np.array(patients) == p]) for p in set(patients)}
    assert all(len(one) == 1 for one in by_patient.values())
    sizes = np.bincount([next(iter(one)) for one in by_patient.values()], minlength=folds)
    assert sizes.max() - sizes.min() <= 1
