import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from cxrflow.components.edge.parity.parity import PairedBootstrap
from cxrflow.components.evaluate.statistics.draws import Draws


def test_differences_by_hand():
    labels = np.array([[1, 0], [0, 0], [1, 0], [0, 0]])
    source = np.array([[0.9, 0.5], [0.2, 0.5], [0.8, 0.5], [0.3, 0.5]], np.float32)
    variant = np.array([[0.9, 0.5], [0.2, 0.4], [0.25, 0.5], [0.3, 0.5]], np.float32)
    found = PairedBootstrap(labels, np.arange(4), source, draws=100).compare(variant)
    assert found.max_difference == pytest.approx(0.55)
    assert found.mean_difference == pytest.approx(0.65 / 8)
    first, second = found.aucs
    assert (first.source, first.variant, first.change) == (1.0, 0.75, -0.25)
    # Nobody is positive for the second class: it has no AUC, and the mean is the first's alone.
    assert np.isnan([second.source, second.variant, second.change]).all()
    assert second.interval is None
    assert found.mean_auc.change == -0.25
    low, high = first.interval
    assert -1 <= low < -0.25 and high == 0  # no draw without the third patient loses anything
    assert found.mean_auc.interval == first.interval


def test_the_same_outputs_differ_by_nothing():
    random = np.random.default_rng(0)
    labels = random.integers(0, 2, (60, 3))
    source = random.random((60, 3)).astype(np.float32)
    found = PairedBootstrap(labels, np.arange(60) // 2, source, draws=50).compare(source.copy())
    assert found.max_difference == found.mean_difference == found.mean_auc.change == 0
    assert found.mean_auc.interval == (0, 0)
    assert [auc.interval for auc in found.aucs] == [(0, 0)] * 3


def test_without_both_labels_there_is_no_mean():
    found = PairedBootstrap(np.zeros((4, 2)), np.arange(4), np.full((4, 2), 0.5), 10).compare(
        np.full((4, 2), 0.6)
    )
    assert found.max_difference == pytest.approx(0.1)
    assert np.isnan(found.mean_auc.change) and found.mean_auc.interval is None


def test_a_rare_class_is_left_out_of_the_draws_that_lack_it():
    """One positive of 30 images: over a third of the draws have none, the others decide."""
    labels = np.zeros((30, 1))
    labels[0] = 1
    source = np.linspace(1, 0, 30)[:, None]
    variant = source.copy()
    variant[0] = source[3] - 0.01  # behind three negatives
    found = PairedBootstrap(labels, np.arange(30), source, draws=300).compare(variant)
    low, high = found.aucs[0].interval
    assert found.aucs[0].change == pytest.approx(-3 / 29)
    assert low < -3 / 29 < high <= 0
    assert found.mean_auc.interval == found.aucs[0].interval


def test_the_interval_is_the_plain_loops():
    """Figures are those of sklearn on the images of each draw, written out."""
    random = np.random.default_rng(1)
    patients = random.integers(0, 25, 80)
    labels = random.integers(0, 2, (80, 2))
    source = np.round(random.random((80, 2)) + 0.3 * labels, 1)
    variant = np.round(source + random.normal(0, 0.2, source.shape), 1)
    found = PairedBootstrap(labels, patients, source, draws=60, seed=5).compare(variant)
    changes = []
    draws = Draws.of(patients, 60, seed=5)
    for weights in draws.times[draws.of_image, 1:].T:
        rows = np.repeat(np.arange(80), weights.astype(int))  # an image as often as drawn
        changes.append(
            [
                roc_auc_score(labels[rows, c], variant[rows, c])
                - roc_auc_score(labels[rows, c], source[rows, c])
                for c in range(2)
            ]
        )
    intervals = np.array([auc.interval for auc in found.aucs]).T
    assert intervals == pytest.approx(np.quantile(changes, [0.025, 0.975], axis=0))
    of_mean = np.quantile(np.mean(changes, axis=1), [0.025, 0.975])
    assert found.mean_auc.interval == pytest.approx(of_mean)


def test_the_interval_covers_what_it_says():
    """The intervals miss the true change in about 5 % of 200 samples of correlated images.

    Both models score alike, so that the true change is 0; images of a patient share their noise,
    and intervals over images would be too narrow by half.
    """
    random = np.random.default_rng(2)
    missed = 0
    for _ in range(200):
        patients = np.repeat(np.arange(60), 4)
        labels = np.repeat(random.integers(0, 2, (60, 1)), 4, axis=0)
        source, variant = (
            labels + np.repeat(random.normal(0, 1, (60, 1)), 4, axis=0) for _ in range(2)
        )
        (auc,) = PairedBootstrap(labels, patients, source, draws=100).compare(variant).aucs
        low, high = auc.interval
        missed += not low <= 0 <= high
    assert 2 <= missed <= 24
