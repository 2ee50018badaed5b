"""The demo profile from nothing: its time, what it learns, and a second, unchanged run."""

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from cxrflow.pipeline.reports.summary import verdict
from cxrflow.pipeline.run import Run
from tests.bench.figure import figure, measure

DEMO = ("-m", "cxrflow.pipeline.cli", "run", "--profile", "demo", "--root")


def main() -> Iterator[dict[str, Any]]:
    """Yields minutes, classes with a test AUC of .80 or more, and seconds of the second run."""
    with tempfile.TemporaryDirectory() as root:
        minutes = measure(*DEMO, root).seconds / 60
        yield figure("minutes of `cxrflow run --profile demo`", minutes, "<= 6", minutes <= 6)
        classes = verdict(Run.read(Path(root))).classes
        learned = sum(item.result.auc >= 0.8 for item in classes)
        yield figure("demo: classes with test AUC >= .80", learned, ">= 10", learned >= 10)
        seconds = measure(*DEMO, root).seconds
        executed = Run.read(Path(root)).executed
        trained = any(node.startswith("Trainer") for node in executed)
        yield figure("demo: seconds of a second run", seconds, "< 45", seconds < 45 and not trained)
