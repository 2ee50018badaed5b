"""When two texts of tables and descriptions are the same word, value or column."""

import re
import unicodedata
from collections.abc import Mapping

_NUMBER = re.compile(r"[+-]?[0-9]{1,15}([.,][0-9]*)?|[+-]?[.,][0-9]+")


# What programs write for a value that isn't there: R, pandas, databases, people.
MISSING = frozenset({"", "na", "n/a", "nan", "<na>", "null", "none", "unknown", "-", "?"})


def composed(text: str) -> str:
    """Unicode's composed form: files that come from a Mac write an accented letter as two."""
    return unicodedata.normalize("NFC", text)


def canonical(text: str) -> str:
    """The form in which values and words are compared.

    Case, spaces and Unicode's two ways to write an accent don't count; 1.0 and 1,0 are 1.
    """
    plain = composed(" ".join(text.split()).casefold())
    if not _NUMBER.fullmatch(plain):
        return plain
    number = float(plain.replace(",", "."))
    return repr(number) if number % 1 else str(int(number))


def require_one_meaning(meanings: Mapping[str, object]) -> None:
    """Raises ValueError where two spellings of the same value mean different things."""
    first: dict[str, str] = {}
    for text, meaning in meanings.items():
        other = first.setdefault(canonical(text), text)
        if meanings[other] != meaning:
            raise ValueError(
                f"{other!r} and {text!r} are the same (case, spaces and 1.0 for 1 don't count), "
                f"and mean {meanings[other]} and {meaning}"
            )
