"""One identity a patient, however a table spells it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cxrflow.schema.patients import identity
from cxrflow.schema.portable.label_table import BadValue


@pytest.mark.parametrize(
    "text",
    (
        *("17", "017", "00000017", " 17", "17\t", "17.", "17.0", "17.000", "+17", "1.7e1"),
        *("1.70E+01", "170e-1", "0.17e2", "\uff11\uff17", "\u0661\u0667", "17\u00a0"),
        *("\u200b17", "17\ufeff"),
    ),
)
def test_spellings_of_a_number(text):
    assert identity(text) == "17"


@pytest.mark.parametrize(
    ("spellings", "expected"),
    [
        (["A-17", "a-17", " A-17 ", "\uff21-17", "\uff41\uff0d\uff11\uff17"], "a-17"),
        (["é1", "e\u03011", "É1", "E\u03011", "e\u200d\u03011"], "é1"),
        (["A-17", "A\u201017", "A\u201117", "A\u201317", "A\u201417", "A\u221217"], "a-17"),
        (["B17", "B\u00ad17", "B\u034f17", "B\ufe0f17", "B\u115f17", "B\U000e010017"], "b17"),
        (["P 1", "P  1", "p\u00a01", "P\n1"], "p 1"),
        (["Straße", "STRASSE"], "strasse"),
        (["1.2.840.11"], "1.2.840.11"),  # a UID of DICOM is no number
        (["2017-001"], "2017-001"),
        (["12345678901234567890"], "12345678901234567890"),
        (["0", "000", "0.0", "0e-5"], "0"),
    ],
)
def test_other_texts_stand_for_themselves(spellings, expected):
    assert {identity(text) for text in spellings} == {expected}


def test_what_only_looks_alike_stays_apart():
    assert len({identity(text) for text in ("17", "A17", "A017", "17A", "17-0", "170")}) == 6


@pytest.mark.parametrize(
    ("text", "detail"),
    [
        *((text, "no patient id") for text in ("", "  ", "\u200b")),
        *((text, "is none") for text in ("nan", "NaN", "None", "NULL", "N/A", "<NA>", "-", "?")),
        *((text, "may be rounded") for text in ("2e1", "1.2e6", "1.23457E+15", "1e9999")),
        *((text, "may be rounded") for text in ("12345678901234567.0", "1.2345678901234567e16")),
        *((text, "not a whole number") for text in ("17.5", "12.345", "17e-1", "1e-9999")),
        *((text, "not a plain whole number") for text in ("-17", "-0", "1,000", "17,0", "1 000")),
        *((text, "not a plain whole number") for text in (".5", "1_000", "1.234.567", "1'000")),
        *(
            (text, "not a plain whole number")
            for text in ("#17", "=17", "(17)", "17;", "/17", "$ 17")
        ),
        *((text, "not a plain whole number") for text in ("\u201317", "\u221217", "17-", "17/")),
        *((text, "has quotes") for text in ('="17"', "'17'", "'17", '"17"', "\u201e17\u201c")),
        ("17\a", "control characters"),
        ("1" * 65, "more than 64 characters"),
        ("1" * 5000, "more than 64 characters"),  # int() refuses as many
    ],
)
def test_what_may_mean_two_patients_is_refused_by_name(text, detail):
    with pytest.raises(BadValue, match=detail) as caught:
        identity(text)
    assert caught.value.reason == "bad_patient"
    assert str(caught.value).isprintable() and len(str(caught.value)) < 130


@given(st.integers(0, 10**12), st.integers(0, 5), st.integers(0, 3), st.sampled_from(" \t\u00a0"))
def test_every_way_to_write_a_number_is_that_number(number, zeros, decimals, space):
    text = f"{'0' * zeros}{number}{'.' if decimals else ''}{'0' * decimals}"
    assert identity(f"{space}{text}{space}") == str(number)
    assert identity(str(float(number))) == str(number)  # what a float column writes


@given(st.text() | st.from_regex(r"[+-]?[0-9]*[.,eE+' _-]?[0-9]*[.,eE+ _-]*[0-9]*", fullmatch=True))
def test_any_text_has_one_identity_or_is_refused(text):
    try:
        found = identity(text)
    except BadValue as refused:
        assert str(refused).isprintable()
    else:
        assert identity(found) == found
        assert identity(f"  {text}\n") == found
        assert found.encode() and found.isprintable() and len(found) <= 64
