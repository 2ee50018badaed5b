"""The label table of phantom sets: prevalence, co-occurrence, follow-ups, lists. No pixels."""

import csv
import gzip
from pathlib import Path

import numpy as np
import pytest

from cxrflow.components.ingest.phantom.table import (
    AP_SHARE,
    MAX_PREVALENCE,
    PREVALENCE,
    TEST_SHARE,
    draw_patient,
    in_test_list,
    scaled_prevalence,
)
from cxrflow.schema.classes import CLASSES_14

NIH_TABLE = Path(__file__).parents[4] / "shared/data/labels/Data_Entry_2017_v2020.csv.gz"


def k_hot(rows) -> np.ndarray:
    return np.array([[c in findings for c in CLASSES_14] for findings in rows])


@pytest.fixture(scope="module")
def patients():
    return [draw_patient(3, k) for k in range(1, 8001)]


@pytest.fixture(scope="module")
def studies(patients):
    return [study for visits in patients for study in visits]


def test_prevalence_is_that_of_the_real_set(studies):
    shares = k_hot(s.findings for s in studies).mean(axis=0)
    for name, share in zip(CLASSES_14, shares, strict=True):
        # Findings cluster in patients: some 2,000 independent images' worth of information.
        assert share == pytest.approx(PREVALENCE[name], abs=4 * np.sqrt(PREVALENCE[name] / 2000)), (
            name
        )
    assert np.mean([s.view == "AP" for s in studies]) == pytest.approx(AP_SHARE, abs=0.03)


@pytest.mark.slow
@pytest.mark.parametrize("scale", [0.5, 4.0])
def test_prevalence_scale_multiplies_up_to_a_cap(scale):
    drawn = [s.findings for k in range(1, 4001) for s in draw_patient(5, k, scale)]
    shares = k_hot(drawn).mean(axis=0)
    for name, share in zip(CLASSES_14, shares, strict=True):
        wanted = scaled_prevalence(scale)[name]
        assert wanted == pytest.approx(min(scale * PREVALENCE[name], MAX_PREVALENCE))
        assert share == pytest.approx(wanted, abs=4 * np.sqrt(wanted / 1000)), name


def test_no_scale_lowers_a_class_it_should_raise():
    assert scaled_prevalence(1.0) == PREVALENCE
    assert all(scaled_prevalence(100.0)[c] >= PREVALENCE[c] for c in CLASSES_14)


def test_patients_look_like_the_real_ones(patients, studies):
    visits = np.array([len(v) for v in patients])
    assert visits.mean() == pytest.approx(3.64, abs=0.4)
    assert (visits == 1).mean() == pytest.approx(0.568, abs=0.02)
    assert visits.max() <= 184
    assert np.median([v[0].age for v in patients]) == pytest.approx(47, abs=2)
    assert np.mean([v[0].sex == "M" for v in patients]) == pytest.approx(0.54, abs=0.02)
    assert all(0 <= s.age <= 95 for s in studies)


def test_follow_ups_count_from_zero_and_age_never_falls(patients):
    for number, visits in enumerate(patients, start=1):
        assert [s.follow_up for s in visits] == list(range(len(visits)))
        assert {s.patient for s in visits} == {number}
        assert len({s.sex for s in visits}) == 1
        ages = [s.age for s in visits]
        assert ages == sorted(ages)
    assert patients[41][0].image == "00000042_000.png"


def test_drawing_is_repeatable_and_each_patient_his_own():
    assert draw_patient(3, 17, 2.0) == draw_patient(3, 17, 2.0)
    first = [draw_patient(3, k)[0] for k in range(1, 30)]
    assert len({(s.age, s.sex, s.view, s.findings) for s in first}) > 20
    assert [draw_patient(4, k)[0].age for k in range(1, 30)] != [s.age for s in first]


@pytest.mark.parametrize(
    ("visits", "expected"),
    [
        ([], []),
        ([5], [False]),
        ([1, 1], [False, True]),
        # .228 of 10 is 2.3: the second patient; 1 is behind .228 of 11: the third; 4 is not of 14.
        ([10, 1, 3, 1, 1], [False, True, True, False, False]),
        ([1, 50, 1, 1], [False, True, False, False]),
    ],
)
def test_test_list_by_hand(visits, expected):
    assert in_test_list(visits) == expected


def test_test_list_takes_its_share_and_does_not_depend_on_later_patients(patients):
    visits = [len(v) for v in patients]
    chosen = in_test_list(visits)
    assert sum(n for n, t in zip(visits, chosen, strict=True) if t) / sum(visits) == pytest.approx(
        TEST_SHARE, abs=0.01
    )
    assert in_test_list(visits[:100]) == chosen[:100]


@pytest.mark.slow
@pytest.mark.skipif(
    not NIH_TABLE.exists(), reason="the real label table (../shared/data/labels) is not here"
)
def test_co_occurrence_and_persistence_are_those_of_the_real_table(studies):
    with gzip.open(NIH_TABLE, "rt", newline="") as file:
        rows = [
            (r["Patient ID"], int(r["Follow-up #"]), r["Finding Labels"].split("|"))
            for r in csv.DictReader(file)
        ]
    rows.sort(key=lambda r: r[:2])
    real, drawn = k_hot(r[2] for r in rows), k_hot(s.findings for s in studies)

    def together(k):
        return (k.T.astype(float) @ k)[np.triu_indices(14, 1)] / len(k)

    pairs = [together(real), together(drawn)]
    assert np.corrcoef(np.sqrt(pairs))[0, 1] > 0.95
    assert real.any(axis=1).mean() == pytest.approx(drawn.any(axis=1).mean(), abs=0.03)

    def again(k, patient):
        """Share of images with a class among those whose predecessor had it."""
        patient = np.array(patient)
        same = (patient[1:] == patient[:-1])[:, None]
        return (k[1:] & k[:-1] & same).sum(axis=0) / (k[:-1] & same).sum(axis=0)

    frequent = real.sum(axis=0) > 2000
    lasting = again(real, [r[0] for r in rows]), again(drawn, [s.patient for s in studies])
    assert np.abs(lasting[0] - lasting[1])[frequent].max() < 0.15
