"""How long EdgeEvaluator's intervals take."""

import time
from collections.abc import Iterator
from typing import Any

import numpy as np

from cxrflow.components.edge.parity.parity import PairedBootstrap
from tests.bench.figure import figure


def main() -> Iterator[dict[str, Any]]:
    """Yields CPU seconds for six variants: 2,000 images, 13 classes, 200 draws of patients."""
    random = np.random.default_rng(0)
    labels = (random.random((2000, 13)) < 0.1).astype(np.float32)
    source = random.random((2000, 13)).astype(np.float32)
    started = time.process_time()
    bootstrap = PairedBootstrap(labels, random.integers(0, 1200, 2000), source, 200)
    for _ in range(6):
        bootstrap.compare(source + random.normal(0, 0.01, source.shape))
    seconds = time.process_time() - started
    yield figure(
        "CPU seconds of paired intervals of six variants", seconds, "<= 5", seconds <= 5, clock=True
    )
