"""Who a row is about: one identity a patient, however a table spells it."""

import re
import unicodedata

from cxrflow.schema.portable.label_table import BadValue, shown

MAX_LENGTH = 64  # characters; DICOM's limit for a Patient ID (PS3.5, LO)
_EXACT = 15  # digits that a float64 keeps
_NUMBER = re.compile(r"\+?([0-9]+)(\.[0-9]*)?(e[+-]?[0-9]{1,9})?")
# Negative numbers, decimal commas, and digits in groups: what they count depends on the country.
_UNCLEAR = re.compile(
    r"-[0-9]*[.,]?[0-9]*(e[+-]?[0-9]+)?|[+-]?[.,][0-9]+(e[+-]?[0-9]+)?|"
    r"[+-]?[0-9][0-9 ,']*[.]?[0-9]*(e[+-]?[0-9]+)?|[+-]?[0-9]{1,3}([._][0-9]{3})+(,[0-9]*)?"
)
# One number among signs: "=17", "#17", "(17)", "17;" are another spelling of it, or are not.
_SIGNED = re.compile(r"[^\w]*[0-9]+[^\w]*")
_DASH = re.compile("[\u2010-\u2015\u2212]")
# Unicode's Default_Ignorable_Code_Point, but for the category Cf.
_INVISIBLE = re.compile(
    "[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u2065\u3164\ufe00-\ufe0f\uffa0\ufff0-\ufff8"
    "\U000e0000-\U000e0fff]"
)
_MISSING = {"nan", "na", "n/a", "<na>", "#n/a", "none", "null", "nil", "inf", "-inf", "-", "?"}


_NOT_TEXT = ("Cc", "Co", "Cn", "Pi", "Pf")  # control, private, unassigned; opening, closing quotes


def identity(text: str) -> str:
    """The patient that an id means; two rows are of one patient if and only if this is equal.

    Spaces, case and Unicode's variants of a letter, digit or dash don't count (NFKC_Casefold of the
    Unicode standard, and any script's decimal digits are digits). A whole number is its digits
    without leading zeros, also where a spreadsheet or a float column has written it: "17", "017",
    " 17", "17.0" and "1.7e1" are one patient. Any other text stands for itself: "A17" is neither
    "17" nor "A017".

    Returns:
        1 to 64 characters.

    Raises:
        BadValue: there is no id (empty, or a word for it such as "nan"); it is a number that may
            have been rounded or mean two things ("1.2e6", "17.5", "-1", "1,000", "#17"); it has
            quotes or control characters; or it is too long.
    """
    if text.isascii() and text.isdigit() and len(text) <= MAX_LENGTH:  # nearly all, and quick
        return text.lstrip("0") or "0"
    folded = _folded(text)
    if not folded or folded in _MISSING:
        raise _bad(text, "is none" if folded else "")
    if len(folded) > MAX_LENGTH:
        raise _bad(text, f"has more than {MAX_LENGTH} characters")
    number = _NUMBER.fullmatch(folded)
    if number:
        return _whole(text, *number.groups(default=""))
    if _UNCLEAR.fullmatch(folded):
        raise _bad(text, "is not a plain whole number")
    if any(unicodedata.category(c) in _NOT_TEXT or c in "\"'`" for c in folded):
        raise _bad(text, "has quotes or control characters")
    if _SIGNED.fullmatch(folded):
        raise _bad(text, "is not a plain whole number")
    return folded


def _folded(text: str) -> str:
    """NFKC_Casefold with decimal digits and dashes in ASCII and single spaces."""
    folded = unicodedata.normalize("NFKC", _INVISIBLE.sub("", text)).casefold()
    folded = _DASH.sub("-", folded)
    plain = (
        str(unicodedata.decimal(c)) if unicodedata.category(c) == "Nd" else c
        for c in folded
        if unicodedata.category(c) != "Cf"  # invisible: joiners, marks of direction
    )
    return " ".join(unicodedata.normalize("NFKC", "".join(plain)).split())


def _whole(text: str, before: str, after: str, exponent: str) -> str:
    """The digits of a number, moved by its exponent; refused where digits may be lost."""
    part, shift = after[1:], int(exponent[1:] or 0)
    digits = before + part
    if shift > len(part) or ((after or exponent) and len(digits.strip("0")) > _EXACT):
        raise _bad(text, "may be rounded: write out its digits")
    point = max(len(before) + shift, 0)
    if digits[point:].strip("0"):
        raise _bad(text, "is not a whole number")
    return digits[:point].lstrip("0") or "0"


def _bad(text: str, why: str) -> BadValue:
    if not why:
        return BadValue("bad_patient", "no patient id")
    return BadValue("bad_patient", f"patient id '{shown(text)}' {why}")
