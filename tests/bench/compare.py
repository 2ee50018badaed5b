"""Tells which ratios have fallen by more than 20 % against the committed ones of docs/results.json.

    make bench-compare                        measures everything first
    make bench-compare RESULTS=bench.jsonl    takes what `make bench` printed
    python -m tests.bench.compare FILE        the same

A figure's ratio is its value against what it should reach, the right way round: it falls where the
value gets worse. Times and rates by themselves are compared if both were measured on one machine.
The exit code is 1 if a ratio has fallen, 2 if FILE has something else than figures.
"""

import json
import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.bench.docs import RESULTS, DocsError, Figure, read_lines, read_results
from tests.bench.figure import ROOT, against

FALLEN = 0.8  # of the committed ratio


@dataclass(frozen=True)
class Compared:
    """A figure and what was committed of it."""

    name: str
    before: float
    now: float
    reach: str
    change: float  # of the ratio: below 1 is worse

    @property
    def has_fallen(self) -> bool:
        """By more than 20 %."""
        return self.change < FALLEN

    def __str__(self) -> str:
        return f"{self.name}: {self.now:g}, was {self.before:g} ({self.reach}): {self.change:.0%}"


def compared(
    committed: Mapping[str, Figure], measured: Mapping[str, Mapping[str, Any]]
) -> Iterator[Compared | str]:
    """Each committed figure of a benchmark against the measured one, or why it can't be compared.

    Args:
        committed: by name.
        measured: lines of `make bench` by their `figure`.
    """
    for name, figure in committed.items():
        if figure.bench and figure.field == "value":
            yield _compared(name, figure, measured.get(figure.bench))


def _compared(name: str, figure: Figure, line: Mapping[str, Any] | None) -> Compared | str:
    if line is None:
        return f"{name}: wasn't measured"
    if "skipped" in line:
        return f"{name}: {line['skipped']}"
    reach = line.get("reach", "")
    if not isinstance(figure.value, int | float) or not isinstance(line["value"], int | float):
        return f"{name}: no number"
    before, now = against(figure.value, reach), against(line["value"], reach)
    if not before or not now:
        return f"{name}: has no ratio"
    if line.get("clock") and line.get("machine") != figure.machine:
        return f"{name}: a time, committed from another machine ({figure.machine})"
    return Compared(name, figure.value, line["value"], reach, now["ratio"] / before["ratio"])


def report(found: Iterable[Compared | str]) -> tuple[list[str], bool]:
    """What there is to say, and whether a ratio has fallen."""
    every = list(found)
    figures = [one for one in every if isinstance(one, Compared)]
    fallen = [one for one in figures if one.has_fallen]
    lines = [f"fell  {one}" for one in sorted(fallen, key=lambda one: one.change)]
    lines += [f"not compared  {one}" for one in every if isinstance(one, str)]
    lines.append(
        f"{len(figures)} ratios compared, {len(fallen)} fell by more than {1 - FALLEN:.0%}, "
        f"{len(every) - len(figures)} figures not compared"
    )
    return lines, bool(fallen)


def main(arguments: list[str], root: Path = ROOT) -> int:
    """See above."""
    try:
        committed = read_results(root / RESULTS)
        if arguments:
            text = Path(arguments[0]).read_text(encoding="utf-8")
            measured = read_lines(text.splitlines())
        else:
            measured = _measured()
    except OSError as error:
        print(f"{error.filename} can't be read: {error.strerror}", file=sys.stderr)
        return 2
    except DocsError as error:
        print(f"{arguments[0] if arguments else RESULTS}: {error}", file=sys.stderr)
        return 2
    lines, fallen = report(compared(committed, measured))
    print("\n".join(lines))
    return int(fallen)


def _measured() -> dict[str, dict[str, Any]]:
    """All benchmarks, each line printed as it comes."""
    from tests.bench.__main__ import BENCHES, figures

    found = {}
    for line in figures(BENCHES):
        print(json.dumps(line), flush=True)
        found[line["figure"]] = line
    return found


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
