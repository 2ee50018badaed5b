"""Results as JSON or CSV, and as a table for people."""

import csv
import io
import json
from collections.abc import Iterable, Iterator, Sequence

from rich.box import SIMPLE_HEAD
from rich.table import Table
from rich.text import Text

from cxrflow.schema.text import visible, written
from cxrflow.serving.client.results import Answer, Failure, Finding, Result

FORMATS = ("table", "json", "csv", "jsonl")
LEADING = ("file", "model", "version")  # of CSV's columns
UNLIKE = ("out_of_distribution", "out_of_distribution_score", "out_of_distribution_threshold")
TRAILING = (*UNLIKE, "notes", "error")
_FEW = 3  # findings below their thresholds that a table of several images names


def json_array(results: Iterable[Result]) -> Iterator[str]:
    """A JSON array, a line a result."""
    before = "[\n"
    for result in results:
        yield before + json.dumps(result.to_json())
        before = ",\n"
    yield "[]\n" if before == "[\n" else "\n]\n"


def json_lines(results: Iterable[Result]) -> Iterator[str]:
    """JSON Lines: a JSON object a line, each a result."""
    for result in results:
        yield json.dumps(result.to_json()) + "\n"


def with_same_classes(
    results: Iterable[Result], classes: tuple[str, ...] | None = None
) -> Iterator[Result]:
    """The results; a failure for each answer that has no place in the columns.

    These are those of the first answer, unless `classes` gives them.
    """
    for result in results:
        if isinstance(result, Answer):
            classes = classes or result.model.classes
            if result.model.classes != classes:
                reason = f"version {result.model.version} has other classes than the first"
                result = Failure(result.source, reason, "FAILED_PRECONDITION")
        yield result


def csv_lines(results: Iterable[Result], classes: tuple[str, ...] | None = None) -> Iterator[str]:
    """A line a result; the header, and failures until then, come with the first answer.

    With `classes`, a header of these is there already.

    Columns: file, model, version; for each class CLASS (the probability), CLASS_threshold and
    CLASS_positive (1 or 0; both empty where the threshold isn't known); out_of_distribution (1: it
    may be no chest X-ray like the model's; 0, or empty where it isn't known), its score and
    threshold; notes, error.
    """
    failed: list[Failure] = []  # before the first answer
    for result in with_same_classes(results, classes):
        if classes is not None:
            yield _row(result, classes)
        elif isinstance(result, Answer):
            classes = result.model.classes
            yield _rows([*failed, result], classes)
        else:
            failed.append(result)
    if classes is None:
        yield _rows(failed, ())


def table(results: Sequence[Result]) -> list[Text | Table]:
    """All classes of a single image; of several what reaches its threshold, and what comes near.

    Lines of text stand around the table.
    """
    answers = [result for result in results if isinstance(result, Answer)]
    shown = _one(answers[0]) if len(results) == len(answers) == 1 else _several(results)
    if any(finding.positive for answer in answers for finding in answer.findings):
        shown.append(Text("+ reaches the model's threshold"))
    notes = dict.fromkeys(note for answer in answers for note in answer.model.notes)
    return [*shown, *map(_text, notes)]


def _one(answer: Answer) -> list[Text | Table]:
    shown = Table(box=SIMPLE_HEAD, show_edge=False)
    shown.add_column("class")
    shown.add_column("probability", justify="right")
    has_thresholds = any(finding.threshold is not None for finding in answer.findings)
    if has_thresholds:
        shown.add_column("threshold", justify="right")
    for finding in answer.ranked():
        row = [_marked(finding, finding.name), Text(f"{finding.probability:.3f}")]
        if has_thresholds:
            row.append(Text("" if finding.threshold is None else f"{finding.threshold:.3f}"))
        shown.add_row(*row)
    title = _text(f"{answer.source}: {_version(answer)}")
    return [title, *_doubt(answer), shown, *map(_text, _own_notes(answer))]


def _several(results: Sequence[Result]) -> list[Text | Table]:
    versions = dict.fromkeys(_version(r) for r in results if isinstance(r, Answer))
    shown = Table(box=SIMPLE_HEAD, show_edge=False)
    for name in ("file", "findings (threshold)"):
        shown.add_column(name, overflow="fold")
    for result in results:
        if isinstance(result, Failure):
            lines = [Text.assemble(("failed:", "red"), " ", visible(result.reason))]
        else:
            notes = (_text(note, "dim") for note in _own_notes(result))
            lines = [*_doubt(result), *_summary(result), *notes]
        shown.add_row(_text(result.source), Text("\n").join(lines))
    return [*map(_text, versions), shown]


def _summary(answer: Answer) -> Iterator[Text]:
    """Every positive finding; a few of the others, the nearest to their thresholds."""
    groups: dict[bool | None, list[Finding]] = {True: [], False: [], None: []}
    for finding in answer.ranked():
        groups[finding.positive].append(finding)
    positive, below, unknown = groups.values()
    if positive:
        yield Text(", ").join(_marked(finding, _value(finding)) for finding in positive)
    if below:
        yield _text(f"{'' if positive else 'none; '}below: {_few(below)}", "dim")
    if unknown:
        yield _text(f"{'without threshold: ' if positive or below else ''}{_few(unknown)}")


def _few(findings: Sequence[Finding]) -> str:
    more = len(findings) - _FEW
    return ", ".join(map(_value, findings[:_FEW])) + (f", +{more} more" if more > 0 else "")


def _value(finding: Finding) -> str:
    limit = "" if finding.threshold is None else f" ({finding.threshold:.3f})"
    return f"{finding.name} {finding.probability:.3f}{limit}"


def _marked(finding: Finding, text: str) -> Text:
    return _text(f"{text} +", "bold") if finding.positive else _text(text)


def _version(answer: Answer) -> str:
    return f"{answer.model.name} version {answer.model.version}"


def _doubt(answer: Answer) -> list[Text]:
    """First of all, where the answer may mean nothing."""
    return [_text(answer.doubt, "yellow")] if answer.doubt else []


def _own_notes(answer: Answer) -> list[str]:
    """What concerns this image, not the model."""
    notes = [note for note in answer.notes if note not in answer.model.notes]
    if peak := answer.peak():
        notes.append(f"attention is highest {peak.x:.0%} from the left, {peak.y:.0%} from the top")
    return notes


def _text(text: str, style: str = "") -> Text:
    """Neither markup, nor emoji codes, nor a terminal's control sequences."""
    return Text(visible(text), style)


def csv_header(classes: Sequence[str]) -> str:
    """The line of the columns' names."""
    columns = [c for name in classes for c in (name, f"{name}_threshold", f"{name}_positive")]
    return _line([*LEADING, *columns, *TRAILING])


def _rows(results: Iterable[Result], classes: Sequence[str]) -> str:
    """The header and its first rows."""
    return csv_header(classes) + "".join(_row(result, classes) for result in results)


def _row(result: Result, classes: Sequence[str]) -> str:
    file = written(result.source)
    if isinstance(result, Failure):
        empty = [""] * (len(LEADING) + 3 * len(classes) + len(TRAILING) - 2)
        return _line([file, *empty, result.reason])
    model = result.model
    values = [value for finding in result.findings for value in _columns(finding)]
    notes = "; ".join(result.notes)
    return _line([file, model.name, model.version, *values, *_unlike(result), notes, ""])


def _unlike(answer: Answer) -> tuple[str, str, str]:
    numbers = (answer.out_of_distribution_score, answer.model.usual_score)
    score, threshold = ("" if one is None else f"{one:.7g}" for one in numbers)
    flagged = answer.out_of_distribution
    return "" if flagged is None else str(int(flagged)), score, threshold


def _columns(finding: Finding) -> tuple[str, str, str]:
    if finding.threshold is None:
        return f"{finding.probability:.6f}", "", ""
    decision = "1" if finding.positive else "0"
    return f"{finding.probability:.6f}", f"{finding.threshold:.6f}", decision


def _line(values: Sequence[object]) -> str:
    buffer = io.StringIO()
    csv.writer(buffer, lineterminator="\r\n").writerow(values)  # quotes both kinds of line ends
    return buffer.getvalue().removesuffix("\r\n") + "\n"
