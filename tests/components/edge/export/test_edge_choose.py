"""Images chosen over patients and classes."""

from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cxrflow.components.edge.export.choose import choose


def ids(count: int) -> list[str]:
    return [f"{i:08}_000.png" for i in range(count)]


def test_one_image_a_patient_before_anyone_has_two():
    patients = ["a", "a", "a", "b", "c"]
    chosen = choose(ids(5), patients, np.zeros((5, 2)), 3)
    assert sorted(patients[i] for i in chosen) == ["a", "b", "c"]


def test_a_rare_class_is_there():
    labels = np.zeros((200, 2))
    labels[:100, 0] = 1
    labels[150, 1] = 1
    assert 150 in choose(ids(200), ids(200), labels, 3)


def test_classes_take_turns():
    labels = np.zeros((300, 2))
    labels[:280, 0] = 1
    labels[280:290, 1] = 1  # and ten images without a finding
    chosen = choose(ids(300), ids(300), labels, 30)
    assert Counter(int(labels[i] @ [1, 2]) for i in chosen) == {0: 10, 1: 10, 2: 10}


def test_a_class_that_only_a_chosen_patient_has_is_there_too():
    labels = np.array([[1, 0], [0, 1], [0, 0], [0, 0]])
    assert {0, 1} <= set(choose(ids(4), ["a", "a", "b", "c"], labels, 3))


@pytest.mark.parametrize(("images", "count"), [(0, 5), (1, 5), (4, 4), (4, 9)])
def test_all_where_there_are_few(images, count):
    assert choose(ids(images), ids(images), np.zeros((images, 3)), count) == [*range(images)]


@st.composite
def splits(draw):
    count = draw(st.integers(1, 40))
    patients = draw(st.lists(st.sampled_from("abcdefgh"), min_size=count, max_size=count))
    rows = st.lists(st.booleans(), min_size=3, max_size=3)
    labels = draw(st.lists(rows, min_size=count, max_size=count))
    return patients, np.array(labels, float), draw(st.integers(1, 50)), draw(st.randoms())


@given(splits())
def test_rules_hold_for_any_split(split):
    patients, labels, count, random = split
    names = ids(len(patients))
    chosen = choose(names, patients, labels, count)
    assert len(chosen) == len(set(chosen)) == min(count, len(names))
    present = labels.any(axis=0)
    if count >= present.sum() + 1:
        assert (labels[chosen].any(axis=0) == present).all()
    times = Counter(patients[i] for i in chosen)
    if max(times.values()) > 1 and len(times) < len(set(patients)):
        # Someone has two and another none: only for the sake of a class, at most one image each.
        assert sum(times.values()) - len(times) <= present.sum()
    order = list(range(len(names)))
    random.shuffle(order)
    again = choose([names[i] for i in order], [patients[i] for i in order], labels[order], count)
    assert {order[i] for i in again} == set(chosen)
