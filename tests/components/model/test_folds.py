"""Folds of patients, worked out by hand."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cxrflow.components.model.folds import patient_folds
from cxrflow.schema.errors import CxrflowError


def test_each_patient_goes_into_the_fold_with_fewest_images_most_images_first() -> None:
    patients = np.array(["a", "e", "c", "a", "b", "d", "a", "c"])
    # a (3 images) 0; c (2) 1; b 1, now 3 and 3; d 0; e 1.
    assert [held_out.tolist() for _, held_out in patient_folds(patients, 2)] == [
        [0, 3, 5, 6],
        [1, 2, 4, 7],
    ]


def test_equal_patients_are_dealt_out_by_name_on_any_machine() -> None:
    """NumPy's plain argsort puts equal numbers in an order that depends on the processor."""
    patients = np.array([f"{number:04}" for number in range(1000)])[::-1]
    for fold, (_, held_out) in enumerate(patient_folds(patients, 4)):
        assert sorted(patients[held_out].astype(int)) == list(range(fold, 1000, 4))


@given(st.lists(st.integers(0, 20), min_size=2, max_size=60), st.integers(2, 7))
def test_every_image_is_held_out_once_and_no_patient_is_on_both_sides(
    numbers: list[int], folds: int
) -> None:
    patients = np.array(numbers)
    if len(set(numbers)) < 2:
        with pytest.raises(CxrflowError, match="of one patient"):
            list(patient_folds(patients, folds))
        return
    found = list(patient_folds(patients, folds))
    assert len(found) == min(folds, len(set(numbers)))
    assert sorted(np.concatenate([held_out for _, held_out in found])) == list(range(len(patients)))
    for fitted, held_out in found:
        assert not set(patients[fitted]) & set(patients[held_out])
        assert len(fitted) + len(held_out) == len(patients)
