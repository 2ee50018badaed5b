"""How far a step is, in words: bytes with their rate and the time that the rest takes."""

import logging

import pytest

from cxrflow.pipeline.pace import Pace


def at(seconds: float, done: int, total: int | None, unit: str = "bytes") -> logging.LogRecord:
    record = logging.LogRecord("", 0, "", 0, "", (), None)
    record.created = seconds
    record.__dict__.update(done=done, total=total, unit=unit)
    return record


def test_other_units_are_counted() -> None:
    assert Pace().words(at(0, 1234, 5606, "images")) == "1,234/5,606 images"
    assert Pace().words(at(0, 5, None, "files")) == "5 files"


@pytest.mark.parametrize(
    ("second", "words"),
    [
        (at(2, 600_000_000, 4_000_000_000), "0.6/4.0 GB, 50.0 MB/s, 1:08 left"),
        (at(2, 510_000_000, 45_000_000_000), "0.5/45.0 GB, 5.0 MB/s, 2:28:18 left"),
        (at(2, 600_000_000, None), "600.0 MB, 50.0 MB/s"),
        (at(0, 600_000_000, 4_000_000_000), "0.6/4.0 GB"),  # no time has passed
        (at(2, 500_000_000, 4_000_000_000), "0.5/4.0 GB"),  # nothing has come
    ],
)
def test_bytes_have_a_rate_that_does_not_count_what_was_there(
    second: logging.LogRecord, words: str
) -> None:
    pace = Pace()
    pace.words(at(0, 500_000_000, 4_000_000_000))
    assert pace.words(second) == words


def test_a_step_that_begins_anew_has_no_rate_yet() -> None:
    pace = Pace()
    pace.words(at(0, 500, 1000))
    assert pace.words(at(1, 10, 5_000_000)) == "0.0/5.0 MB"
