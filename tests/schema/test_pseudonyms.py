"""Names for ids: the same again and again, of one key and kind alone."""

import re

from cxrflow.schema.pseudonyms import Pseudonyms

ONE, OTHER = Pseudonyms(b"0" * 16), Pseudonyms(b"1" * 16)


def test_kind_and_key_make_another_pseudonym():
    assert ONE.of("patient", "17") == ONE.of("patient", "17")
    assert len({ONE.of("patient", "17"), ONE.of("image", "17"), OTHER.of("patient", "17")}) == 3


def test_uids_are_those_of_uuids():
    found = ONE.uid("report", "1.2", "3")
    assert found == ONE.uid("report", "1.2", "3")
    assert re.fullmatch(r"2\.25\.[1-9][0-9]{1,38}", found)  # 128 bits, PS3.5 annex B.2
    assert len({found, ONE.uid("report", "1.23"), ONE.uid("key image", "1.2", "3")}) == 3
