"""`kill -9` of a whole `cxrflow run` at a random moment of each node, and what was wrong after it.

    python -m tests.bench run_kills

A small run of the demo's profile with all of its nodes. After the kills its artifacts are compared
with those of an unbroken run, byte by byte, but for files that tell of their own making.
"""

import random
import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.bench.figure import figure
from tests.e2e.test_pipeline import SMALL
from tests.support import run_kills

ROUNDS = 2  # each kills once in every node


def main(rounds: int = ROUNDS, seed: int = 0) -> Iterator[dict[str, Any]]:
    """Yields the faults that were found after so many kills."""
    changes = {**SMALL, "train.deterministic": True}
    arguments = ["--profile", "demo"]
    arguments += [part for key, value in changes.items() for part in ("--set", f"{key}={value}")]
    moments = random.Random(seed)
    with tempfile.TemporaryDirectory(prefix="kills-") as name:
        folder = Path(name)
        machine = run_kills.Machine(folder, arguments)
        whole = run_kills.unbroken(machine, folder / "whole")
        found = []
        for number in range(rounds):
            root = folder / f"round-{number}"
            found.append(run_kills.killed(machine, root, whole, [*whole.seconds], moments))
    faults = Counter(fault for one in found for fault in one.faults)
    killed_at = Counter(node for one in found for node in one.killed_at)
    total = sum(faults.values())
    yield figure(
        "run_kills.faults", total, "0", not total, kills=killed_at.total(),
        nodes=dict(killed_at), kept_shards=sum(one.kept_shards for one in found),
        kept_epochs=sum(one.kept_epochs for one in found), faults=dict(faults),
    )  # fmt: skip
