"""What label values mean."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cxrflow.components.ingest.source.labels import LabelReader, Said
from cxrflow.components.ingest.source.settings import LabelsConfig
from cxrflow.components.ingest.source.spelling import canonical
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


def said(*positive, unknown=()):
    return Said(frozenset(positive), frozenset(unknown))


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
    assert LabelReader(COLUMNS).read(row) == Said(frozenset(found))


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
    assert LabelReader(WORDS).read({"Findings": text}) == Said(frozenset(found))


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


def test_words_that_tell_nothing_leave_the_image_out():
    reader = LabelReader(replace(WORDS, leave_out=("unchanged",), others="drop"))
    with pytest.raises(BadValue, match="Unchanged: left out") as error:
        reader.read({"Findings": "['mass', ' Unchanged']"})
    assert error.value.reason == "label_left_out"
    assert reader.read({"Findings": "mass"}) == said("Mass")


@pytest.mark.parametrize(
    "given, says",
    [
        ({"leave_out": ("mass",)}, "leave_out has 'mass', which is a class or in none too"),
        ({"leave_out": ("x",), "column": ""}, "leave_out has words of `column`"),
    ],
)
def test_words_to_leave_out_are_of_the_column_alone(given, says):
    with pytest.raises(ValueError, match=says):
        replace(WORDS, **given)


def test_words_in_no_list_can_be_dropped():
    dropping = LabelReader(LabelsConfig(column="F", classes={"mass": "Mass"}, others="drop"))
    assert dropping.read({"F": "scoliosis|mass"}) == said("Mass")
    assert dropping.read({"F": "scoliosis"}) == said()


@pytest.mark.parametrize(
    "how, found", [("any", {"A", "B", "C"}), ("majority", {"A", "B"}), ("all", {"A"})]
)
def test_several_readers_are_put_together(how, found):
    classes = {name: name for name in "ABC"}
    reader = LabelReader(LabelsConfig(classes=classes, several_rows=how))
    assert reader.together([said(*"ABC"), said(*"AB"), said("A")]).positive == found


def test_half_of_the_readers_are_no_majority():
    reader = LabelReader(LabelsConfig(classes={"A": "A"}, several_rows="majority"))
    assert reader.together([said("A"), said()]) == said()


@pytest.mark.parametrize(
    "how, votes, positive, unknown",
    [
        ("same", [said("A"), said(unknown="A")], "A", ""),  # who doesn't know contradicts nobody
        ("same", [said(), said(unknown="A")], "", ""),
        ("same", [said("B", unknown="A"), said("B", unknown="A")], "B", "A"),
        ("majority", [said("A"), said(unknown="A"), said(unknown="A")], "A", ""),
        ("majority", [said("A"), said(), said(unknown="A")], "", ""),
        ("all", [said("A"), said(unknown="A")], "A", ""),
        ("any", [said(), said("A"), said(unknown="A")], "A", ""),
    ],
)
def test_who_does_not_know_has_no_say(how, votes, positive, unknown):
    reader = LabelReader(LabelsConfig(classes={"A": "A", "B": "B"}, several_rows=how))
    assert reader.together(votes) == said(*positive, unknown=unknown)


@pytest.mark.parametrize(
    "row, positive, unknown",
    [
        ({"E": "-1", "H": "1"}, {"Heart"}, {"Water"}),
        ({"E": "", "H": "0"}, set(), {"Water"}),
        ({"E": "-1", "H": "0", "Oedema": "1"}, {"Water"}, set()),  # its other column knows
        ({"E": "-1", "H": "0", "Normal": "1"}, set(), set()),  # no finding denies what is unsure
        ({"E": "-1", "H": "-1", "Normal": ""}, set(), {"Water", "Heart"}),
        ({"E": "0", "H": "-1", "Normal": "1"}, set(), {"Heart"}),  # nothing said of what is beside
    ],
)
def test_a_value_to_ignore_leaves_its_class_unknown(row, positive, unknown):
    labels = LabelsConfig(
        classes={"E": "Water", "Oedema": "Water", "H": "Heart"},
        none=("Normal",),
        beside_none=("Heart",),
        values={"1": "positive", "0": "negative", "-1": "ignore"},
        values_of={"Water": {"": "ignore"}},
    )
    assert labels.has_unknown
    assert LabelReader(labels).read(row) == Said(frozenset(positive), frozenset(unknown))


def test_an_image_of_which_no_class_is_known_stays_out():
    labels = LabelsConfig(column="F", classes={"mass": "Mass"}, values={"": "ignore"})
    reader = LabelReader(labels)
    assert reader.read({"F": ""}) == said(unknown=["Mass"])
    with pytest.raises(BadValue, match="no class is known") as error:
        reader.together([reader.read({"F": ""})])
    assert error.value.reason == "label_left_out"


def test_rows_that_must_agree_and_do_not_contradict():
    reader = LabelReader(LabelsConfig(classes={"A": "A"}))
    assert reader.together([said("A"), said("A")]) == said("A")
    with pytest.raises(BadValue, match="2 rows of this image contradict each other: A"):
        reader.together([said("A"), said()])


@given(st.integers(-999, 999))
def test_numbers_are_compared_as_numbers(number):
    spellings = {f"{number}", f" {number} ", f"{number}.0", f"{number},00"}
    assert len({canonical(text) for text in spellings}) == 1


@pytest.mark.parametrize(
    "fields, says",
    [
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
    assert LabelReader(labels).read({"A": "1"}) == said("A")
    assert LabelReader(labels).read({"A": "-1"}) == said()
    assert LabelReader(labels).read({"A": ""}) == said()


@pytest.mark.parametrize(
    "one, other, same",
    [
        ("10000032.0", "10000032", True),  # a float column of a join
        ("-0", "0,0", True),
        ("123456.7", "123456.8", False),
        ("1.0000001", "1", False),
        ("O\u0308dem", "\u00f6dem", True),
        (" Big \u00a0 heart", "big heart", True),
    ],
)
def test_when_two_spellings_are_the_same(one, other, same):
    assert (canonical(one) == canonical(other)) == same


@pytest.mark.parametrize(
    "fields, says",
    [
        ({"values": {"1": "positive", "1.0": "negative"}}, "mean positive and negative"),
        ({"values": {"Ja": "positive", "ja ": "ignore"}}, "'Ja' and 'ja ' are the same"),
        ({"values_of": {"A": {"-1": "ignore", "-1,0": "positive"}}}, "mean ignore and positive"),
        ({"column": "F", "classes": {"mass": "A", "Mass": "B"}}, "mean A and B"),
        ({"column": "F", "none": ["a"]}, "none has 'a', which is a class too"),
        ({"column": "F", "leave_out": ["a"]}, "leave_out has 'a', which is a class"),
        ({"classes": {"x": "Mass", "y": "mass"}}, "'Mass' and 'mass' differ in nothing"),
        ({"classes": {"x": "Big  heart", "y": "Big heart"}}, "write both the same"),
    ],
)
def test_what_cannot_be_told_apart_must_not_mean_two_things(fields, says):
    with pytest.raises(ValueError, match=says):
        LabelsConfig(**{"classes": {"A": "A"}, **fields})


def test_columns_that_differ_only_in_case_are_two():
    labels = LabelsConfig(classes={"mass": "Mass", "MASS": "Mass"}, none=("Mass",))
    assert LabelReader(labels).read({"mass": "0", "MASS": "1", "Mass": "0"}) == said("Mass")


def test_descriptions_and_tables_may_write_accents_in_two_ways():
    labels = LabelsConfig(classes={"O\u0308dem": "O\u0308dem"})
    assert labels.names == ("\u00d6dem",) and list(labels.classes) == ["\u00d6dem"]
