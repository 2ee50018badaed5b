"""What a table's columns may be, by their names and values."""

import re
import unicodedata
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from cxrflow.components.ingest.source.spelling import MISSING, canonical
from cxrflow.schema.classes import NO_FINDING

_NAMES = {  # in the order of trust
    "patient": r"(patient|subject|person|pat)[\W_]*(id|nr|no|num|number)?|pid|mrn|case[\W_]*id",
    "age": r"(patient[\W_]*)?age|alter|edad|âge",
    "sex": r"(patient[\W_]*)?(sex|gender)|geschlecht|sexo|sexe",
    "view": r"(view([\W_]*position)?|projection|ap[\W_]*/?pa|pa[\W_]*/?ap)",
    "split": r"split|partition|fold|set|subset",
}
_MEANINGS: dict[str, dict[str, tuple[str, ...]]] = {
    "sex": {
        "M": ("m", "male", "man", "männlich", "h", "hombre", "homme", "masculino"),
        "F": ("f", "female", "woman", "weiblich", "w", "mujer", "femme", "femenino"),
    },
    "view": {"PA": ("pa",), "AP": ("ap", "ap_horizontal", "ap supine", "portable")},
    "split": {
        "train": ("train", "training", "tr"),
        "eval": ("eval", "val", "valid", "validate", "validation", "dev"),
        "test": ("test", "testing", "te"),
    },
}
_OTHERWISE = {"sex": "unknown", "view": "set_aside", "split": "train"}
_POSITIVE = {
    *("1", "yes", "true", "positive", "pos", "y", "t", "present", "x", "+"),
    *("ja", "sí", "si", "oui", "wahr", "vrai", "verdadero"),  # as Excel writes TRUE there
}
_NEGATIVE = {
    *("0", "no", "false", "negative", "neg", "n", "f", "absent"),
    *("nein", "non", "falsch", "faux", "falso"),
}
_UNSURE = {*MISSING, "-1", "uncertain", "u", "maybe", "possible"}
_NONE = {"no finding", "no findings", "normal", "none", "healthy", "negative", "ohne befund"}
_LABEL_NAMES = re.compile(r"finding|label|diagnos|disease|patholog|class|befund", re.IGNORECASE)
_SEPARATORS = ("|", ";", ",", "/")
_MOST_GROUPS = 8  # values of a column that may be a slice
_MOST_CLASSES = 64


@dataclass
class Labels:
    """How a table says its labels."""

    column: str = ""  # that names all; empty: a column a class
    separator: str = "|"
    classes: dict[str, int] = field(default_factory=dict)  # name in the table -> positive rows
    none: list[str] = field(default_factory=list)
    values: dict[str, tuple[str, int]] = field(default_factory=dict)  # value -> policy, how often
    columns: tuple[str, ...] = ()

    @property
    def unsure(self) -> list[str]:
        """Values that neither say yes nor no."""
        return [
            value or "blank"
            for value, (policy, _) in self.values.items()
            if policy in ("ignore", "leave_out")
        ]


def column(what: str, values: Mapping[str, Sequence[str]]) -> str:
    """The column that is taken for patient, age, sex, view or split; "" if none."""
    pattern = re.compile(_NAMES[what], re.IGNORECASE)
    named = [name for name in values if pattern.fullmatch(name.strip())]
    if what in ("view", "split"):
        known = {word for words in _MEANINGS[what].values() for word in words}
        named = [n for n in named if known & {canonical(value) for value in values[n]}]
    return named[0] if named else ""


def meanings(what: str, values: Sequence[str]) -> dict[str, str]:
    """What the values of a column of sex, view or split are taken for, most frequent first."""
    found = {}
    for value, _ in Counter(values).most_common():
        plain = canonical(value)
        meant = [one for one, words in _MEANINGS[what].items() if plain in words]
        found[value] = meant[0] if meant else _OTHERWISE[what]
        if what == "view" and not value:
            found[value] = "unknown"
    return found


def labels(values: Mapping[str, Sequence[str]]) -> Labels:
    """The columns that are taken for labels."""
    known = _POSITIVE | _NEGATIVE | _UNSURE
    marks = {name: {canonical(v) for v in column} for name, column in values.items()}
    single = [
        name for name, found in marks.items() if found <= known and found & (_POSITIVE | _NEGATIVE)
    ]
    named = [name for name in values if _LABEL_NAMES.search(name) and name not in single]
    if named and not single:
        return _of_column(named[0], values[named[0]])
    counts = {name: sum(canonical(v) in _POSITIVE for v in values[name]) for name in single}
    none = [name for name in single if canonical(name) in _NONE]
    seen = Counter(v for name in single for v in values[name])
    policies = {value: (_policy(value), count) for value, count in seen.most_common()}
    if "" in policies and all(policy != "negative" for policy, _ in policies.values()):
        policies[""] = ("negative", seen[""])  # only what is there is marked
    return Labels(
        classes={name: counts[name] for name in single if name not in none},
        none=none,
        values=policies,
        columns=tuple(single),
    )


def groups(values: Mapping[str, Sequence[str]]) -> list[str]:
    """Columns of few values each, which may be slices."""
    return [name for name, column in values.items() if 2 <= len(set(column)) <= _MOST_GROUPS]


def class_name(name: str) -> str:
    """A class's name from a column's: bars, outer spaces and what isn't seen don't count."""
    plain = "".join(sign if sign.isprintable() else " " for sign in name.replace("|", " "))
    return " ".join(plain.split())[:64].strip()


def slice_name(name: str) -> str:
    """A slice's name from a column's."""
    letters = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode().lower()
    plain = re.sub(r"[^a-z0-9]+", "_", letters).strip("_")[:32]
    return plain if plain[:1].isalpha() else f"group_{plain}"


def _of_column(name: str, values: Sequence[str]) -> Labels:
    counts = {sign: sum(sign in value for value in values) for sign in _SEPARATORS}
    separator = max(_SEPARATORS, key=lambda sign: counts[sign])
    separator = separator if counts[separator] else "|"
    words = Counter(
        word.strip() for value in values for word in value.split(separator) if word.strip()
    )
    none = [word for word in words if canonical(word) in _NONE]
    classes = {w: n for w, n in words.most_common(_MOST_CLASSES) if w not in none}
    blank = sum(not value.strip() for value in values)
    policies = {"": ("leave_out", blank)} if blank else {}
    return Labels(name, separator, classes, none or [NO_FINDING], policies, (name,))


def _policy(value: str) -> str:
    plain = canonical(value)
    return "positive" if plain in _POSITIVE else "negative" if plain in _NEGATIVE else "ignore"
