"""How fast commands answer that need no TensorFlow."""

from collections.abc import Iterator
from typing import Any

from tests.bench.figure import figure, measure


def main() -> Iterator[dict[str, Any]]:
    """Yields the best of three for each command."""
    for command in (("--help",), ("run", "--help"), ("data", "phantom", "--help")):
        name = " ".join(("cxrflow", *command))
        seconds = min(measure("-m", "cxrflow.pipeline.cli", *command).seconds for _ in range(3))
        yield figure(f"seconds of `{name}`", seconds, "< 1", seconds < 1, clock=True)
    seconds = min(measure("pipeline/setup/bootstrap.py").seconds for _ in range(3))
    yield figure("seconds of `make setup`, nothing to do", seconds, "< 1", seconds < 1, clock=True)
