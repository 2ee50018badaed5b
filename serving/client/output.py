"""Results as a table, JSON or CSV."""

import csv
import io
import json
from collections.abc import Iterable, Iterator, Sequence

from rich.markup import escape
from rich.table import Table

from serving.client.results import Answer, Failure, Finding, Result

FORMATS = ("table", "json", "csv")
_TOP = 3  # findings of each image, where there are several images


def json_lines(results: Iterable[Result]) -> Iterator[str]:
    """A JSON array, a line a result."""
    before = "[\n"
    for result in results:
        yield before + json.dumps(result.to_json())
        before = ",\n"
    yield "[]\n" if before == "[\n" else "\n]\n"


def csv_lines(results: Iterable[Result]) -> Iterator[str]:
    """A line a result, with a column a class; the header comes with the first answer."""
    classes: tuple[str, ...] | None = None
    failed: list[Failure] = []  # before the first answer
    for result in results:
        if isinstance(result, Answer) and classes is None:
            classes = result.model.classes
            yield _header(classes) + "".join(_failed_line(failure, classes) for failure in failed)
        if classes is None:
            assert isinstance(result, Failure)
            failed.append(result)
        elif isinstance(result, Failure):
            yield _failed_line(result, classes)
        elif result.model.classes != classes:
            reason = f"version {result.model.version} has other classes than the first"
            yield _failed_line(Failure(result.source, reason), classes)
        else:
            values = [format(finding.probability, ".6f") for finding in result.findings]
            model = result.model
            yield _line([result.source, model.name, model.version, *values, _notes(result), ""])
    if classes is None:
        yield _header(()) + "".join(_failed_line(failure, ()) for failure in failed)


def table(results: Sequence[Result]) -> list[str | Table]:
    """All classes of a single image, the most probable ones of several; lines around it."""
    answers = [result for result in results if isinstance(result, Answer)]
    shown = _one(answers[0]) if len(results) == len(answers) == 1 else _several(results)
    notes = dict.fromkeys(note for answer in answers for note in answer.model.notes)
    if any(finding.positive for answer in answers for finding in answer.findings):
        shown.append("+ reaches the model's threshold")
    return [*shown, *map(escape, notes)]


def _one(answer: Answer) -> list[str | Table]:
    shown = Table()
    shown.add_column("class")
    shown.add_column("probability", justify="right")
    has_thresholds = any(finding.threshold is not None for finding in answer.findings)
    if has_thresholds:
        shown.add_column("threshold", justify="right")
    for finding in answer.top():
        row = [_marked(finding, escape(finding.name)), f"{finding.probability:.3f}"]
        if has_thresholds:
            row.append("" if finding.threshold is None else f"{finding.threshold:.3f}")
        shown.add_row(*row)
    title = escape(f"{answer.source}: {_version(answer)}")
    return [title, shown, *map(escape, _own_notes(answer))]


def _several(results: Sequence[Result]) -> list[str | Table]:
    versions = dict.fromkeys(_version(r) for r in results if isinstance(r, Answer))
    shown = Table()
    for name in ("file", "most probable"):
        shown.add_column(name, overflow="fold")
    for result in results:
        if isinstance(result, Failure):
            shown.add_row(escape(result.source), f"[red]failed:[/] {escape(result.reason)}")
            continue
        top = [
            _marked(finding, f"{escape(finding.name)} {finding.probability:.3f}")
            for finding in result.top()[:_TOP]
        ]
        lines = [", ".join(top), *(f"[dim]{escape(note)}[/]" for note in _own_notes(result))]
        shown.add_row(escape(result.source), "\n".join(lines))
    return [*map(escape, versions), shown]


def _marked(finding: Finding, text: str) -> str:
    return f"[bold]{text} +[/]" if finding.positive else text


def _version(answer: Answer) -> str:
    return f"{answer.model.name} version {answer.model.version}"


def _own_notes(answer: Answer) -> list[str]:
    """What concerns this image, not the model."""
    notes = [note for note in answer.notes if note not in answer.model.notes]
    if peak := answer.peak():
        notes.append(f"attention is highest {peak.x:.0%} from the left, {peak.y:.0%} from the top")
    return notes


def _header(classes: Sequence[str]) -> str:
    return _line(["file", "model", "version", *classes, "notes", "error"])


def _failed_line(failure: Failure, classes: Sequence[str]) -> str:
    return _line([failure.source, "", "", *("" for _ in classes), "", failure.reason])


def _notes(answer: Answer) -> str:
    return "; ".join(answer.notes)


def _line(values: Sequence[object]) -> str:
    buffer = io.StringIO()
    csv.writer(buffer, lineterminator="\n").writerow(values)
    return buffer.getvalue()
