"""Names and messages as text that any terminal, file or reader can take."""

import codecs
import os
import re
import unicodedata

# What `written` itself makes, and thus no name may hold as it is.
_ESCAPED = re.compile(r"\\(\\|x[0-9a-f]{2})")
# What our own messages use beyond ASCII, and what stands for it where an encoding lacks it; of the
# same width where it is used in tables.
_SIGNS = {
    "–": "-",
    "—": "-",
    "−": "-",
    "·": ".",
    "…": ".",
    "×": "x",
    "✓": "+",
    "✗": "x",
    "≥": ">=",
    "≤": "<=",
    "±": "+-",
    "→": "->",
}


def visible(text: str) -> str:
    r"""Text as one harmless line for people: control characters are shown, not obeyed.

    A newline is `\n`, an escape `\x1b`, a byte of a file name that isn't UTF-8 `\xfc`.
    """
    return "".join(character if _is_shown(character) else _escape(character) for character in text)


def written(path: str) -> str:
    r"""A file name for data that programs read; different names stay different.

    The name itself, if it is UTF-8; else its other bytes are `\xfc` and its backslashes doubled.
    Doubled they are too in a name that would look like one so written.
    """
    if _is_unicode(path) and not _ESCAPED.search(path):
        return path
    return os.fsencode(path.replace("\\", "\\\\")).decode("utf-8", "backslashreplace")


def replace_unknown(error: UnicodeError) -> tuple[str, int]:
    r"""A codec's error handler: what an encoding lacks is written `-` or `\xfc`."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    lacking = error.object[error.start : error.end]
    return "".join(_SIGNS.get(sign) or _escape(sign) for sign in lacking), error.end


def _is_shown(character: str) -> bool:
    return character.isprintable() or unicodedata.category(character) == "Zs"


def _is_unicode(text: str) -> bool:
    return not any("\ud800" <= character <= "\udfff" for character in text)


def _escape(character: str) -> str:
    if "\udc80" <= character <= "\udcff":  # Python's stand-in for a byte, PEP 383
        return f"\\x{ord(character) - 0xDC00:02x}"
    return character.encode("unicode_escape").decode("ascii")


codecs.register_error("cxrflow", replace_unknown)
