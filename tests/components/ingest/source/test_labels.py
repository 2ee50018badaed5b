"""What label values mean."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cxrflow.components.ingest.source.labels import LabelReader, canonical
from cxrflow.components.ingest.source.settings import LabelsConfig
from cxrflow.schema.portable.label_table import BadValue

POLICIES = {"1": "positive", "0": "negative", "-1": "leave_out", "": "negative"}
COLUMNS = LabelsConfig(
    classes={"Edema": "Water", "Heart": "Big heart", "Tube": "Device"},
    none=("Normal",),
    beside_none=("Device",),
    values=POLICIES,
    values_of={"Big heart": {"-1": "positive"}},
)
WORDS = LabelsConfig(
    column="Findings",
    separator=",",
    strip="[]'",
    classes={"edema": "Water", "lung edema": "Water", "mass": "Mass"},
    none=("normal",),
)


@pytest.mark.parametrize(
    "row, found",
    [
        ({"Edema": "1", "Heart": "0", "Tube": "", "Normal": "0"}, {"Water"}),
        ({"Edema": "1.0", "Heart": " 1 ", "Tube": "0,0", "Normal": ""}, {"Water", "Big heart"}),
        ({"Edema": "0", "Heart": "-1", "Tube": "0", "Normal": ""}, {"Big heart"}),
        ({"Edema": "", "Heart": "", "Tube": "", "Normal": "1"}, set()),
        ({"Edema": "0", "Heart": "0", "Tube": "1", "Normal": "1"}, {"Device"}),
        ({"Edema": "1", "Heart": "0", "Tube": "1"}, {"Water", "Device"}),  # no column for none
    ],
)
def test_columns_mean_what_the_policies_say(row, found):
    assert LabelReader(COLUMNS).read(row) == found


@pytest.mark.parametrize(
    "row, reason, says",
    [
        ({"Edema": "-1"}, "label_left_out", "Edema is -1: left out"),
        ({"Edema": "2"}, "unknown_label_value", "Edema is '2'"),
        ({"Edema": "yes"}, "unknown_label_value", "labels.values doesn't say"),
        ({"Edema": "1", "Normal": "1"}, "finding_conflict", "Normal beside Water"),
    ],
)
def test_other_values_keep_the_row_out(row, reason, says):
    plain = {"Edema": "0", "Heart": "0", "Tube": "0", "Normal": "0"}
    with pytest.raises(BadValue, match=says) as error:
        LabelReader(COLUMNS).read({**plain, **row})
    assert error.value.reason == reason


@pytest.mark.parametrize(
    "text, found",
    [
        ("mass", {"Mass"}),
        ("['edema', 'mass']", {"Water", "Mass"}),
        ("Lung  Edema,edema", {"Water"}),
        ("['normal']", set()),
    ],
)
def test_words_of_one_column(text, found):
    assert LabelReader(WORDS).read({"Findings": text}) == found


@pytest.mark.parametrize(
    "text, reason",
    [
        ("scoliosis", "unknown_finding"),
        ("", "unknown_finding"),
        ("[]", "unknown_finding"),
        ("normal,mass", "finding_conflict"),
    ],
)
def test_words_that_keep_the_row_out(text, reason):
    with pytest.raises(BadValue) as error:
        LabelReader(WORDS).read({"Findings": text})
    assert error.value.reason == reason


def test_words_in_no_list_can_be_dropped():
    dropping = LabelReader(LabelsConfig(column="F", classes={"mass": "Mass"}, others="drop"))
    assert dropping.read({"F": "scoliosis|mass"}) == {"Mass"}
    assert dropping.read({"F": "scoliosis"}) == frozenset()


@pytest.mark.parametrize(
    "how, found", [("any", {"A", "B", "C"}), ("majority", {"A", "B"}), ("all", {"A"})]
)
def test_several_readers_are_put_together(how, found):
    reader = LabelReader(LabelsConfig(classes={"A": "A"}, several_rows=how))
    votes = [frozenset("ABC"), frozenset("AB"), frozenset("A")]
    assert reader.together(votes) == found


def test_half_of_the_readers_are_no_majority():
    reader = LabelReader(LabelsConfig(classes={"A": "A"}, several_rows="majority"))
    assert reader.together([frozenset("A"), frozenset()]) == frozenset()


def test_rows_that_must_agree_and_do_not_contradict():
    reader = LabelReader(LabelsConfig(classes={"A": "A"}))
    assert reader.together([frozenset("A"), frozenset("A")]) == {"A"}
    with pytest.raises(BadValue, match="2 rows of this image contradict each other: A"):
        reader.together([frozenset("A"), frozenset()])


@given(st.integers(-999, 999))
def test_numbers_are_compared_as_numbers(number):
    spellings = {f"{number}", f" {number} ", f"{number}.0", f"{number},00"}
    assert len({canonical(text) for text in spellings}) == 1


@pytest.mark.parametrize(
    "fields, says",
    [
        ({"classes": {"A": "A"}, "values": {"-1": "ignore"}}, "'ignore' needs a mask"),
        ({"classes": {"A": "No Finding"}}, "can't name a class"),
        ({"classes": {"A": "EXAMPLES"}}, "can't name a class"),
        ({"classes": {"A": "a|b"}}, "can't name a class"),
        ({"classes": {"A": " a"}}, "can't name a class"),
        ({"classes": {"A": "A"}, "none": ["A"]}, "none has 'A', which is a class too"),
        ({"classes": {"A": "A"}, "values_of": {"B": {}}}, "values_of has 'B', which is no class"),
        ({"classes": {"A": "A"}, "values": {True: "positive"}}, "put the value into quotes"),
    ],
)
def test_contradictions_in_the_description_name_the_field(fields, says):
    with pytest.raises(ValueError, match=says):
        LabelsConfig(**fields)


def test_keys_that_yaml_takes_for_numbers_are_text():
    labels = LabelsConfig(
        classes={"A": "A"}, values={1: "positive", -1.0: "negative", None: "negative"}
    )
    assert LabelReader(labels).read({"A": "1"}) == {"A"}
    assert LabelReader(labels).read({"A": "-1"}) == frozenset()
    assert LabelReader(labels).read({"A": ""}) == frozenset()
