"""What ingest sets aside, why, and when that is too much for a run to go on."""

import csv
import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

from cxrflow.schema.files import whole_file

REPORT = "quarantine.csv"
SUMMARY = "summary.json"


class Reason(str, Enum):
    """Why a row and its image stay out of the run; the values are what reports show."""

    # of the row
    BAD_ROW = "bad_row"  # more or fewer values than columns
    BAD_IMAGE_NAME = "bad_image_name"
    DUPLICATE_IMAGE = "duplicate_image"
    BAD_PATIENT = "bad_patient"
    PATIENT_MISMATCH = "patient_mismatch"
    UNKNOWN_FINDING = "unknown_finding"
    FINDING_CONFLICT = "finding_conflict"
    IMPOSSIBLE_AGE = "impossible_age"
    BAD_SEX = "bad_sex"
    BAD_VIEW = "bad_view"
    BAD_FOLLOW_UP = "bad_follow_up"
    NOT_IN_LISTS = "not_in_lists"
    # of the row of an own source
    UNKNOWN_LABEL_VALUE = "unknown_label_value"  # the description doesn't say what it means
    LABEL_LEFT_OUT = "label_left_out"  # the description leaves images with this value out
    NO_PARTNER = "no_partner"  # a joined table says nothing about it
    BAD_SPLIT = "bad_split"
    NOT_FRONTAL = "not_frontal"
    # of the file
    MISSING = "missing"
    SEVERAL_FILES = "several_files"
    UNREADABLE = "unreadable"
    EMPTY = "empty"
    TOO_LARGE_FILE = "too_large_file"
    NOT_PNG_OR_JPEG = "not_png_or_jpeg"
    TOO_SMALL = "too_small"
    TOO_MANY_PIXELS = "too_many_pixels"
    TRUNCATED = "truncated"
    CORRUPT = "corrupt"
    ANIMATED = "animated"
    # of a DICOM
    BAD_DICOM = "bad_dicom"
    OTHER_MODALITY = "other_modality"
    OTHER_BODY_PART = "other_body_part"
    FOR_PROCESSING = "for_processing"
    BURNED_IN = "burned_in"  # its header says that its pixels name the patient


# Set aside as asked for: they don't count as bad.
OUTSIDE = frozenset(
    reason.value
    for reason in (
        *(Reason.LABEL_LEFT_OUT, Reason.NOT_FRONTAL, Reason.OTHER_MODALITY),
        *(Reason.OTHER_BODY_PART, Reason.FOR_PROCESSING, Reason.BURNED_IN),
    )
)


@dataclass(frozen=True)
class Problem:
    """One row set aside."""

    reason: str  # a value of Reason
    image: str  # as the table names it
    row: int  # line of the table as an editor counts: the header is 1
    detail: str


def count_reasons(problems: Sequence[Problem]) -> dict[str, int]:
    """Rows per reason, the most frequent first."""
    return dict(Counter(p.reason for p in problems).most_common())


def write_report(problems: Sequence[Problem], rows: int, folder: str | Path) -> Path:
    """Writes `quarantine.csv` (one line a problem) and `summary.json` into a local `folder`.

    Args:
        problems: everything that was set aside.
        rows: how many rows were looked at, good and bad.
        folder: made if it does not exist.

    Returns:
        The path of `quarantine.csv`.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / REPORT
    with whole_file(path) as aside, aside.open("w", newline="", encoding="utf-8") as f:
        writer = csv.writer(f)
        writer.writerow(["image", "row", "reason", "detail"])
        writer.writerows(
            [p.image, p.row, p.reason, p.detail] for p in sorted(problems, key=lambda p: p.row)
        )
    summary = {"rows": rows, "set_aside": len(problems), "reasons": count_reasons(problems)}
    (folder / SUMMARY).write_text(json.dumps(summary, indent=2) + "\n", encoding="utf-8")
    return path


def too_much(problems: Sequence[Problem], rows: int, max_bad_share: float) -> str | None:
    """The sentence that stops a run, or None when no more than `max_bad_share` of `rows` is bad."""
    outside = sum(problem.reason in OUTSIDE for problem in problems)
    problems = [problem for problem in problems if problem.reason not in OUTSIDE]
    rows -= outside
    if len(problems) <= max_bad_share * rows:
        return None
    reasons = ", ".join(f"{n:,} {reason}" for reason, n in count_reasons(problems).items())
    return (
        f"{len(problems):,} of {rows:,} images are bad ({len(problems) / rows:.1%}, at most "
        f"{max_bad_share:.1%} may be): {reasons}"
    )
