"""The log of a shadowed server: a JSON line for each image that two versions were asked about."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

from pydantic import TypeAdapter

from cxrflow.schema.json_log import read_lines

FORMAT = 1


@dataclass(frozen=True)
class Answer:
    """What one version said of an image."""

    version: int
    scores: Mapping[str, float]  # class -> calibrated probability
    decisions: Mapping[str, bool | None]  # at the operating point; None: the class has none
    ood: float | None = None  # how unlike the training X-rays; None: the version gives no score
    flagged: bool | None = None  # whether that is above its threshold


@dataclass(frozen=True)
class Pair:
    """A line of the log."""

    time: str  # ISO 8601 in UTC, when the second answer was there
    model: str
    input_sha256: str  # of the image, or of the tf.Example around it
    point: str  # operating point of the decisions
    first: Answer  # what the client got
    second: Answer
    seconds: float = 0.0  # that the second version took for the request
    synthetic: bool = False  # a version was trained on phantoms
    format: int = field(default=FORMAT)

    def differs(self) -> bool:
        """Whether a decision that both make is another one."""
        one, other = self.first.decisions, self.second.decisions
        known = [name for name in one if one[name] is not None and other.get(name) is not None]
        return any(one[name] != other[name] for name in known)

    def line(self) -> str:
        """As it stands in the log, without the line's end."""
        return json.dumps(asdict(self), allow_nan=False)


_ADAPTER = TypeAdapter(Pair)


def read_pairs(path: Path) -> Iterator[Pair]:
    """The pairs of a log; a last line that is being written is left out.

    Raises:
        CxrflowError: it can't be read, or a line isn't one of it.
    """
    return read_lines(path, _ADAPTER, "pair", "log of a shadow")
