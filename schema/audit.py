"""The gateway's audit log: a JSON line for each image about which something was decided.

It names nobody: ids are pseudonyms (see `pseudonyms`), which the key alone can tell.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Literal

from pydantic import TypeAdapter

from cxrflow.schema.json_log import parse_line, read_lines

FORMAT = 1
# By the model; no, says its header; no, says the model's score of how unlike its X-rays it is.
Answered = Literal["findings", "not_frontal_chest", "out_of_distribution"]


@dataclass(frozen=True)
class ImageStatistics:
    """Statistics of the 8-bit gray picture that was sent to the model."""

    width: int  # pixels
    height: int
    mean: float  # gray levels, 0 to 255
    standard_deviation: float


@dataclass(frozen=True)
class Unlikeness:
    """How unlike the training X-rays an image is."""

    score: float
    threshold: float | None  # above it an image is flagged
    flagged: bool | None  # None: without a threshold


@dataclass(frozen=True)
class Decision:
    """A line of the log. Times are ISO 8601 in UTC, ids pseudonyms of 24 hexadecimal digits."""

    id: str  # the same decision has the same: it stands there once
    time: str  # when it was decided
    received: str  # when the sender was told that the image is safe
    sender: str  # AE title
    study: str
    sop_instance: str
    input_sha256: str  # of the data set as it came
    patient: str | None = None
    answer: Answered | None = None  # None: there is none
    reason: str | None = None  # of an answer other than findings, and of none
    model: str | None = None  # None where it wasn't asked
    model_version: int | None = None
    model_digest: str | None = None  # SHA-256 of its manifest.json; None where the server won't say
    age: int | None = None  # years
    sex: str | None = None  # M, F or O
    view: str | None = None  # PA, AP, or what the header says
    image: ImageStatistics | None = None
    scores: Mapping[str, float] = field(default_factory=dict)  # calibrated probabilities by class
    thresholds: Mapping[str, float | None] = field(default_factory=dict)
    decisions: Mapping[str, bool | None] = field(default_factory=dict)  # None: without threshold
    ood: Unlikeness | None = None
    notes: tuple[str, ...] = ()  # what is doubted about the picture, and how it was rendered
    seconds: float = 0.0  # from received to time
    format: int = FORMAT

    def line(self) -> str:
        """As it stands in the log, without the line's end."""
        return json.dumps(asdict(self), allow_nan=False)


_ADAPTER = TypeAdapter(Decision)


def parse_decision(line: str) -> Decision:
    """A line of the log; fields that a later version adds are passed over.

    Raises:
        ValueError: it is none.
    """
    return parse_line(line, _ADAPTER)


def read_audit(path: Path) -> Iterator[Decision]:
    """The decisions of a log, each once; a last line that is being written is left out.

    Raises:
        CxrflowError: it can't be read, or a line isn't one of it.
    """
    seen: set[str] = set()
    for found in read_lines(path, _ADAPTER, "decision", "audit log"):
        if found.id not in seen:
            seen.add(found.id)
            yield found
