"""Names in terminals and in data."""

import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cxrflow.schema.text import visible, written

NAMES = st.binary(max_size=12).map(os.fsdecode) | st.text(r"\xfc0a", max_size=12)


@pytest.mark.parametrize(
    ("path", "shown", "data"),
    [
        ("a.png", "a.png", "a.png"),
        ("M\udcfcller", r"M\xfcller", r"M\xfcller"),
        (r"M\xfcller", r"M\xfcller", r"M\\xfcller"),
        (r"a\b", r"a\b", r"a\b"),
        (r"a\\b", r"a\\b", r"a\\\\b"),
        ("a\\\udcff", "a\\\\xff", r"a\\\xff"),
        ("\u2265\t\x7f", r"≥\t\x7f", "\u2265\t\x7f"),
    ],
)
def test_examples(path: str, shown: str, data: str) -> None:
    assert (visible(path), written(path)) == (shown, data)


@given(NAMES, NAMES)
def test_different_names_are_written_differently(one: str, other: str) -> None:
    assert (written(one) == written(other)) == (one == other)
    written(one).encode("utf-8")


@given(st.text())
def test_nothing_that_a_terminal_obeys_is_left(text: str) -> None:
    shown = visible(text)
    assert all(c.isprintable() or c.isspace() for c in shown) and len(shown.splitlines()) <= 1
    shown.encode("utf-8")


def test_what_an_encoding_lacks_is_escaped() -> None:
    assert "∞ä\udcfc".encode("ascii", "cxrflow") == rb"\u221e\xe4\xfc"
    assert "∞ä\udcfc".encode("latin-1", "cxrflow") == b"\\u221e\xe4\\xfc"
    assert "a ≥ b …".encode("ascii", "cxrflow") == b"a >= b ."
    with pytest.raises(UnicodeDecodeError):
        b"\xfc".decode("utf-8", "cxrflow")
