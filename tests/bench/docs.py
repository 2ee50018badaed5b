"""Writes the measured figures of docs/results.json into README.md and docs/.

    make docs                            writes them
    make docs RESULTS=bench.jsonl        first takes newer values from what `make bench` printed
    python -m tests.bench.docs --check   says which page differs; exit code 1 if one does

A page names a figure between two comments, which a reader of the page doesn't see:
`<!--figure:NAME-->0.95<!--/-->` holds one value (where the value is lines: a table if they begin
with `|`, else a block of code), and `<!--figures:SUBJECT-->...<!--/-->` holds a table of all single
values of a subject, whose names begin with `SUBJECT.`.
"""

import argparse
import dataclasses
import datetime
import json
import os
import re
import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.bench.figure import ROOT

RESULTS = Path("docs", "results.json")
MARKED = re.compile(r"<!--(figures?):([^>]*?)-->((?:(?!<!--figures?:).)*?)<!--/-->", re.DOTALL)
LOOSE = re.compile(r"<!--(?:figures?:[^>]*|/)-->")


class DocsError(Exception):
    """What is wrong with the results or a page, in one line."""


@dataclass(frozen=True, kw_only=True)
class Figure:
    """A measured value, and how it came about."""

    what: str  # was measured, with its unit
    value: float | str | list[str]  # a list: rows of a table, or lines of a program's output
    command: str  # that measures it
    date: str  # of the measurement, YYYY-MM-DD
    machine: str
    show: str = "{}"  # Python's format of the value
    bench: str = ""  # the benchmark's own name of the figure; empty: not from `make bench`
    field: str = "value"  # of the benchmark's JSON line
    note: str = ""  # what a reader should know, such as that it is due again

    @property
    def text(self) -> str:
        """As pages show it."""
        if isinstance(self.value, list):
            lines = "\n".join(self.value)
            return f"\n\n{lines}\n\n" if lines[:1] == "|" else f"\n\n```text\n{lines}\n```\n\n"
        return self.show.format(self.value)


def read_results(path: Path) -> dict[str, Figure]:
    """The figures by name. Raises DocsError where the file isn't what it should be."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        return {name: Figure(**fields) for name, fields in content.items()}
    except OSError as error:
        raise DocsError(f"it can't be read: {error.strerror}") from None
    except (ValueError, TypeError, AttributeError) as error:
        raise DocsError(f"it isn't what tests/bench/docs.py describes: {error}") from None


def write_results(figures: Mapping[str, Figure], path: Path) -> None:
    """Writes what `read_results` reads; fields that have their defaults are left out."""
    defaults = {f.name: f.default for f in dataclasses.fields(Figure)}
    content = {
        name: {k: v for k, v in dataclasses.asdict(figure).items() if v != defaults[k]}
        for name, figure in figures.items()
    }
    path.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def rendered(page: str, figures: Mapping[str, Figure]) -> str:
    """The page with every figure as the results have it.

    Raises:
        DocsError: the page names a figure or subject that there isn't, or a marker has no partner.
    """

    def replace(match: re.Match[str]) -> str:
        kind, name, _ = match.groups()
        text = _one(name, figures) if kind == "figure" else _table(name, figures)
        return f"<!--{kind}:{name}-->{text}<!--/-->"

    if loose := LOOSE.search(MARKED.sub("", page)):
        raise DocsError(f"{loose[0]} has no partner")
    return MARKED.sub(replace, page)


def _one(name: str, figures: Mapping[str, Figure]) -> str:
    if name not in figures:
        raise DocsError(f"there is no figure {name!r} in the results")
    return figures[name].text


def _table(subject: str, figures: Mapping[str, Figure]) -> str:
    found = [
        figure
        for name, figure in figures.items()
        if name.startswith(f"{subject}.") and not isinstance(figure.value, list)
    ]
    if not found:
        raise DocsError(f"there is no figure {subject + '.…'!r} in the results")
    rows = ["| figure | measured | by | on |", "|---|---|---|---|"]
    for figure in found:
        what = f"{figure.what} ({figure.note})" if figure.note else figure.what
        when = f"{figure.date}, {figure.machine}"
        rows.append(f"| {what} | {figure.text} | `{figure.command}` | {when} |")
    return "\n\n" + "\n".join(rows) + "\n\n"


def differences(page: str, figures: Mapping[str, Figure]) -> Iterator[str]:
    """Each figure of the page that isn't the results' one, in words. Raises as `rendered` does."""
    rendered(page, figures)
    for kind, name, there in MARKED.findall(page):
        text = _one(name, figures) if kind == "figure" else _table(name, figures)
        if there != text:
            shown = f"has {there!r}, not {text!r}" if len(there + text) < 80 else "differs"
            yield f"{name} {shown}"


def read_lines(lines: Iterable[str]) -> dict[str, dict[str, Any]]:
    """What `make bench` printed, by figure. Raises DocsError at a line of something else."""
    measured: dict[str, dict[str, Any]] = {}
    for line in filter(str.strip, lines):
        try:
            found = json.loads(line)
            measured[found["figure"]] = found
        except (ValueError, TypeError, KeyError):
            raise DocsError(f"this is no line of `make bench`: {line.strip()[:80]}") from None
    return measured


def taken(
    figures: Mapping[str, Figure], lines: Iterable[str], date: str, machine: str = ""
) -> dict[str, Figure]:
    """The figures with newer values from the JSON lines that `make bench` printed.

    Args:
        figures: by name.
        lines: as printed.
        date: of the measurement, YYYY-MM-DD.
        machine: in words; empty: as the lines say.

    Raises:
        DocsError: a line is no figure, or lacks the field that a figure is taken from.
    """
    measured = read_lines(lines)
    newer = dict(figures)
    for name, figure in figures.items():
        found = measured.get(figure.bench, {"skipped": ""})
        if "skipped" in found:
            continue
        if figure.field not in found:
            raise DocsError(f"{name}: the benchmark's line has no {figure.field!r}")
        on = machine or found.get("machine") or f"{os.cpu_count()} cores"
        newer[name] = dataclasses.replace(
            figure, value=found[figure.field], date=date, machine=on, note=""
        )
    return newer


def pages(root: Path) -> list[Path]:
    """All pages that may hold figures."""
    return [root / "README.md", *sorted((root / "docs").rglob("*.md"))]


def main(arguments: list[str], root: Path = ROOT) -> int:
    """Exit code: 1 if a page differs, 2 for a broken page or result."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.docs", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--check", action="store_true", help="write nothing, tell what differs")
    parser.add_argument("--take", type=Path, metavar="FILE", help="what `make bench` printed")
    parser.add_argument("--machine", default="", help="for --take; default: as the lines say")
    options = parser.parse_args(arguments)
    results = page = root / RESULTS
    different = 0
    try:
        figures = read_results(results)
        if options.take:
            page = options.take
            lines = options.take.read_text(encoding="utf-8").splitlines()
            today = datetime.date.today().isoformat()
            newer = taken(figures, lines, today, options.machine)
            changed = sum(newer[name] is not figures[name] for name in figures)
            print(f"{changed} of {len(figures)} figures taken from {options.take}")
            figures = newer
            write_results(figures, results)
        for page in pages(root):
            text = page.read_text(encoding="utf-8")
            for difference in differences(text, figures):
                different += 1
                print(f"{page.relative_to(root)}: {difference}")
            if not options.check:
                page.write_text(rendered(text, figures), encoding="utf-8")
    except OSError as error:
        print(f"{page} can't be read or written: {error.strerror}", file=sys.stderr)
        return 2
    except DocsError as error:
        print(f"{page}: {error}", file=sys.stderr)
        return 2
    if options.check and different:
        print("`make docs` writes the results' figures into the pages")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
