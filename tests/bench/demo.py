"""The demo profile from nothing: its time, what it learns, and a second, unchanged run."""

import tempfile
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from cxrflow.pipeline.reports.summary import verdict
from cxrflow.pipeline.run import Run
from tests.bench.figure import figure, measure

DEMO = ("-m", "cxrflow.pipeline.cli", "run", "--profile", "demo", "--jobs", "2", "--root")


def main() -> Iterator[dict[str, Any]]:
    """Yields minutes, an excerpt of the output, classes with a test AUC of .80, a second run."""
    with tempfile.TemporaryDirectory() as root:
        first = measure(*DEMO, root)
        minutes = first.seconds / 60
        yield figure("demo: minutes", minutes, "<= 3.3", minutes <= 200 / 60, clock=True)
        lines = excerpt(first.output.replace(root, "runs/demo"))
        yield {"figure": "demo: its last lines, an excerpt", "value": lines}
        classes = verdict(Run.read(Path(root))).classes
        learned = sum(item.result.auc >= 0.8 for item in classes)
        yield figure("demo: classes with test AUC >= .80", learned, ">= 10", learned >= 10)
        seconds = measure("-m", "cxrflow.pipeline.cli", "dashboard", "--root", root).seconds
        yield figure("demo: seconds of `cxrflow dashboard`", seconds, "", True, clock=True)
        seconds = measure(*DEMO, root).seconds
        executed = Run.read(Path(root)).executed
        trained = any(node.startswith("Trainer") for node in executed)
        yield figure(
            "demo: seconds of a second run",
            seconds,
            "<= 20",
            seconds <= 20 and not trained,
            clock=True,
        )


def excerpt(output: str) -> list[str]:
    """Some ten lines of what the demo prints: of the class table, the verdict, what lies where."""
    lines = [line.rstrip() for line in output.splitlines()]
    (title,) = (i for i, line in enumerate(lines) if ", test split" in line)
    mean = next(i for i in range(title, len(lines)) if lines[i].split()[:1] == ["mean"])
    rule = next(i for i in range(title, mean) if lines[i].startswith("─"))
    rows = [line for line in lines[rule + 1 : mean] if line[:2].strip()]  # no second lines of cells
    rest = [
        part
        for start in ("gate: ", "synthetic X-rays: ", "edge bundle: ", "pushed  ")
        for line in lines
        if line.startswith(start)
        for part in textwrap.wrap(line, 98, drop_whitespace=True, replace_whitespace=False)
    ]
    return [*lines[title:rule], *rows[:2], lines[mean], *rest]
