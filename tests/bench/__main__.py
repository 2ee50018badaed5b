"""Measures the project's figures: one JSON line each.

    make bench                                  everything, but `proofs`
    .venv/bin/python -m tests.bench transform   one of them

Times on a shared machine mean little by themselves: where a figure is a ratio, both sides were
measured in the same run.
"""

import importlib
import json
import sys
from collections.abc import Iterable, Iterator
from typing import Any

from tests.bench.figure import where

BENCHES = (
    "commands",
    "phantoms",
    "transform",
    "decode",
    "workers",
    "table",
    "training",
    "ensemble",
    "bootstrap",
    "demo",
    "kills",
    "run_kills",
    "jobs",
    "engines",
    "fetch",
    "nih_mini",
    "heads",
    "out_of_distribution",
    "serving",
    "serving_fuzz",
    "serving_soak",
    "shadow",
    "gateway",
    "edge_models",
    "edge_parity",
    "edge_infer",
)
NAMED = ("proofs",)  # only where they are asked for: an hour


def main(names: list[str]) -> int:
    """Runs the named benchmarks; 1 if a figure missed its goal."""
    known = (*BENCHES, *NAMED)
    if unknown := set(names) - set(known):
        print(f"no benchmark {sorted(unknown)}: name some of {', '.join(known)}", file=sys.stderr)
        return 2
    missed = 0
    for figure in figures(names or BENCHES):
        missed += figure.get("reached") is False
        print(json.dumps(figure), flush=True)
    return int(missed > 0)


def figures(names: Iterable[str]) -> Iterator[dict[str, Any]]:
    """Measures; each figure says where."""
    for name in names:
        for figure in importlib.import_module(f"tests.bench.{name}").main():
            yield {**figure, **where()}


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
