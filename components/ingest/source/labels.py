"""From a row's label values to the classes that it is positive for, and those it doesn't tell."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from cxrflow.components.ingest.quarantine import Reason
from cxrflow.components.ingest.source.settings import LabelsConfig, Policy
from cxrflow.components.ingest.source.spelling import canonical
from cxrflow.schema.portable.label_table import BadValue, shown


@dataclass(frozen=True)
class Said:
    """What a row, or all rows of an image, say of the classes; the others are negative."""

    positive: frozenset[str] = frozenset()
    unknown: frozenset[str] = frozenset()  # values that the description says to ignore


class LabelReader:
    """Reads the labels of rows by a description, and puts those of one image together."""

    def __init__(self, labels: LabelsConfig):
        self._labels = labels
        self._none = {canonical(name) for name in labels.none}
        self._leave_out = {canonical(name) for name in labels.leave_out}
        self._classes = {canonical(name): one for name, one in labels.classes.items()}
        self._values = {canonical(value): policy for value, policy in labels.values.items()}
        self._values_of = {
            name: {canonical(value): policy for value, policy in values.items()}
            for name, values in labels.values_of.items()
        }

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns that labels are read from."""
        given = self._labels
        return (given.column,) if given.column else (*given.classes, *given.none)

    def read(self, row: Mapping[str, str]) -> Said:
        """What a row says of the classes.

        Args:
            row: text by column; a class's column that the row's table lacks is left out.

        Raises:
            BadValue: a value that the description doesn't know, or one that leaves the image out,
                or the labels contradict each other.
        """
        return self._of_column(row) if self._labels.column else self._of_columns(row)

    def together(self, found: Sequence[Said]) -> Said:
        """What several rows of one image say, by `several_rows`; who doesn't know has no say.

        Raises:
            BadValue: they must say the same, and don't; or no class is known.
        """
        of_none = [one for one in self._labels.names if all(one in row.unknown for row in found)]
        unknown = frozenset(of_none)
        if len(unknown) == len(self._labels.names):
            raise BadValue(Reason.LABEL_LEFT_OUT.value, "no class is known: left out")
        readers = {
            name: sum(name not in row.unknown for row in found)
            for name in self._labels.names
            if name not in unknown
        }
        votes = Counter(name for row in found for name in row.positive)
        how = self._labels.several_rows
        if how == "same":
            names = sorted(name for name, count in votes.items() if count < readers[name])
            if names:
                raise BadValue(
                    Reason.DUPLICATE_IMAGE.value,
                    f"{len(found)} rows of this image contradict each other: "
                    f"{shown(', '.join(names))}",
                )
        positive = {
            name
            for name, count in votes.items()
            if count >= {"any": 1, "majority": readers[name] // 2 + 1}.get(how, readers[name])
        }
        return Said(frozenset(positive), unknown)

    def _of_column(self, row: Mapping[str, str]) -> Said:
        text, given = row[self._labels.column], self._labels
        words = [_stripped(word, given.strip) for word in text.split(given.separator)]
        words = list(dict.fromkeys(word for word in words if word))
        if not words:
            return self._blank(text)
        found = set()
        for word in words:
            key = canonical(word)
            if key in self._leave_out:
                raise BadValue(Reason.LABEL_LEFT_OUT.value, f"{shown(word)}: left out")
            if key in self._classes:
                found.add(self._classes[key])
            elif key not in self._none and given.others == "refuse":
                raise BadValue(
                    Reason.UNKNOWN_FINDING.value,
                    f"{shown(word)!r} is neither in labels.classes nor in labels.none",
                )
        # A word that is dropped may be a finding: only the classes can contradict "none".
        for word in words:
            if canonical(word) in self._none:
                self._refuse_conflict(word, found)
        return Said(frozenset(found))

    def _blank(self, text: str) -> Said:
        """No word at all: what `values` says of blank; by default that isn't known."""
        policy = self._values.get("")
        if policy == "negative":
            return Said()
        if policy == "ignore":
            return Said(unknown=frozenset(self._labels.names))
        if policy == "leave_out":
            raise BadValue(Reason.LABEL_LEFT_OUT.value, "no finding given: left out")
        raise BadValue(Reason.UNKNOWN_FINDING.value, "no finding given, nor a word of labels.none")

    def _of_columns(self, row: Mapping[str, str]) -> Said:
        found, unknown = set(), set()
        for column, name in self._labels.classes.items():
            if column not in row:
                continue
            policy = self._policy(column, name, row[column])
            if policy == "positive":
                found.add(name)
            elif policy == "ignore":
                unknown.add(name)
        for column in self._labels.none:
            if column in row and self._says_none(row[column]):
                self._refuse_conflict(column, found)
                unknown &= set(self._labels.beside_none)  # it denies all the others
        return Said(frozenset(found), frozenset(unknown - found))

    def _policy(self, column: str, name: str, text: str) -> Policy:
        value = canonical(text)
        policy = self._values_of.get(name, {}).get(value) or self._values.get(value)
        if policy is None:
            what = f"{shown(text)!r}" if text else "blank"
            raise BadValue(
                Reason.UNKNOWN_LABEL_VALUE.value,
                f"{shown(column)} is {what}, and labels.values doesn't say what that means",
            )
        if policy == "leave_out":
            detail = f"{shown(column)} is {shown(text) or 'blank'}: left out"
            raise BadValue(Reason.LABEL_LEFT_OUT.value, detail)
        return policy

    def _refuse_conflict(self, none: str, found: set[str]) -> None:
        if names := sorted(found - set(self._labels.beside_none)):
            detail = f"{shown(none)} beside {shown(', '.join(names))}: they contradict"
            raise BadValue(Reason.FINDING_CONFLICT.value, detail)

    def _says_none(self, text: str) -> bool:
        """Whether the column for no finding is positive; blank or uncertain says nothing."""
        return self._values.get(canonical(text)) == "positive" if text else False


def _stripped(word: str, signs: str) -> str:
    return word.strip().strip(signs + " ") if signs else word.strip()
