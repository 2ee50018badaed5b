"""Folds of patients, worked out by hand."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cxrflow.components.model.folds import patient_folds, require_cases
from cxrflow.schema.errors import CxrflowError


def none(patients: np.ndarray) -> np.ndarray:
    """Labels of images without a finding."""
    return np.zeros((len(patients), 1), np.float32)


def held_out(patients: np.ndarray, labels: np.ndarray, folds: int) -> list[list[int]]:
    return [rows.tolist() for _, rows in patient_folds(patients, labels, folds)]


def test_without_cases_a_patient_goes_into_the_fold_with_fewest_images_most_images_first() -> None:
    patients = np.array(["a", "e", "c", "a", "b", "d", "a", "c"])
    # a (3 images) 0; c (2) 1; b 1, now 3 and 3; d 0; e 1.
    assert held_out(patients, none(patients), 2) == [[0, 3, 5, 6], [1, 2, 4, 7]]


def test_patients_of_the_rarest_class_are_dealt_out_first_each_to_where_fewest_are() -> None:
    patients = np.array(["a", "b", "c", "d", "e", "f", "f", "g"])
    unknown = np.nan
    labels = np.array(
        [[1, 0], [1, 0], [0, 1], [1, 1], [1, unknown], [0, 0], [0, unknown], [unknown, 0]]
    )
    # The second class is rarer: c 0, d 1. Of the first, which fold 1 has once: a 0, then b 1, which
    # has fewer images, and e 0. Without a case: f (2 images) 1, which has 2 images, not 3; g 0.
    assert held_out(patients, labels, 2) == [[0, 2, 4, 7], [1, 3, 5, 6]]


def test_a_patients_further_classes_decide_between_folds_that_are_equal() -> None:
    patients = np.array(["a", "b", "c", "d"])
    labels = np.array([[1, 0, 1], [1, 0, 0], [0, 1, 1], [0, 1, 0]])
    # a 0, b 1; c could go into either by the second class, and fold 0 has a case of the third.
    assert held_out(patients, labels, 2) == [[0, 3], [1, 2]]


def test_equal_patients_are_dealt_out_by_name_on_any_machine() -> None:
    """NumPy's plain argsort puts equal numbers in an order that depends on the processor."""
    patients = np.array([f"{number:04}" for number in range(1000)])[::-1]
    for labels in (none(patients), 1 - none(patients)):
        for fold, (_, rows) in enumerate(patient_folds(patients, labels, 4)):
            assert sorted(patients[rows].astype(int)) == list(range(fold, 1000, 4))


@st.composite
def images(draw: st.DrawFn, classes: int) -> tuple[np.ndarray, np.ndarray]:
    """Patients [N] and labels [N, classes], some unknown."""
    patients = draw(st.lists(st.integers(0, 20), min_size=2, max_size=60))
    row = st.lists(st.sampled_from([0, 0, 1, np.nan]), min_size=classes, max_size=classes)
    labels = draw(st.lists(row, min_size=len(patients), max_size=len(patients)))
    return np.array(patients), np.array(labels, np.float32)


def cases(patients: np.ndarray, labels: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Patients with each class in these rows, [C]."""
    found = [len(set(patients[rows][of_class])) for of_class in (labels[rows] > 0).T]
    return np.array(found, int)


@given(images(classes=3), st.integers(2, 7))
def test_every_image_is_held_out_once_and_no_patient_is_on_both_sides(
    made: tuple[np.ndarray, np.ndarray], folds: int
) -> None:
    patients, labels = made
    people = len(set(patients))
    if people < 2:
        with pytest.raises(CxrflowError, match="of one patient"):
            list(patient_folds(patients, labels, folds))
        return
    found = list(patient_folds(patients, labels, folds))
    assert len(found) == min(folds, people)
    assert sorted(np.concatenate([rows for _, rows in found])) == list(range(len(patients)))
    for fitted, rows in found:
        assert not set(patients[fitted]) & set(patients[rows])
        assert len(fitted) + len(rows) == len(patients)


@given(images(classes=3), st.integers(2, 7), st.randoms(use_true_random=False))
def test_the_order_of_images_changes_no_fold(
    made: tuple[np.ndarray, np.ndarray], folds: int, random
) -> None:
    patients, labels = made
    if len(set(patients)) < 2:
        return
    order = np.array(random.sample(range(len(patients)), len(patients)))
    before = [set(patients[rows]) for _, rows in patient_folds(patients, labels, folds)]
    after = patient_folds(patients[order], labels[order], folds)
    assert [set(patients[order][rows]) for _, rows in after] == before


@given(images(classes=1), st.integers(2, 5))
def test_a_class_has_as_many_patients_in_each_fold_and_is_always_learned(
    made: tuple[np.ndarray, np.ndarray], folds: int
) -> None:
    patients, labels = made
    if len(set(patients)) < folds:
        return
    found = list(patient_folds(patients, labels, folds))
    counts = [int(cases(patients, labels, rows)[0]) for _, rows in found]
    assert max(counts) - min(counts) <= 1
    if sum(counts) >= folds:
        assert all(counts)
        require_cases(patients, labels, ["Mass"], folds)


@given(images(classes=3), st.integers(2, 5))
def test_the_rarest_class_has_as_many_patients_in_each_fold(
    made: tuple[np.ndarray, np.ndarray], folds: int
) -> None:
    patients, labels = made
    of_class = cases(patients, labels, np.arange(len(patients)))
    if len(set(patients)) < folds or not of_class.any():
        return
    rarest = min(np.flatnonzero(of_class), key=lambda c: (of_class[c], c))
    counts = [cases(patients, labels, rows)[rarest] for _, rows in patient_folds(*made, folds)]
    assert max(counts) - min(counts) <= 1


@given(images(classes=3), st.integers(2, 5))
def test_without_a_class_in_common_images_are_as_many_within_one_patient(
    made: tuple[np.ndarray, np.ndarray], folds: int
) -> None:
    patients, _ = made
    if len(set(patients)) < folds:
        return
    sizes = [len(rows) for _, rows in patient_folds(patients, none(patients), folds)]
    assert max(sizes) - min(sizes) <= np.unique(patients, return_counts=True)[1].max()


def test_a_class_that_no_folds_can_divide_is_named() -> None:
    """Each two of three patients share a class: a 0, b 1, and c 1 as its first class is in 0."""
    patients = np.array(["a", "b", "c"])
    labels = np.array([[1, 1, 0], [1, 0, 1], [0, 1, 1]])
    with pytest.raises(CxrflowError, match=r"cross_fit 2: all patients with Hernia fall into one"):
        require_cases(patients, labels, ["Edema", "Mass", "Hernia"], 2)
    require_cases(patients, labels, ["Edema", "Mass", "Hernia"], 3)
