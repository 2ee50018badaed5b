"""Kills of a run at random moments, and what was wrong after the same command had finished it.

The nodes are plain ones, so that many kills fit into minutes: this tries launching, the cache, ML
Metadata and what is cleared away. The Trainer's checkpoints and the pushes have tests of their own.
"""

import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.bench.figure import figure

KILLS = 200


def main(kills: int = KILLS) -> Iterator[dict[str, Any]]:
    """Yields the faults that were found after so many kills."""
    from tests.support.kills import trials

    with tempfile.TemporaryDirectory() as folder:
        found = [*trials(Path(folder, "roots"), kills, seed=0)]
    faults = Counter(fault for one in found for fault in one.faults)
    done = sum(one.kills for one in found)
    nodes = Counter(node for one in found for node in one.killed_at)
    total = sum(faults.values())
    yield figure(
        "kills.faults", total, "0", not total, kills=done, runs=len(found), nodes=dict(nodes),
        faults=dict(faults),
    )  # fmt: skip
