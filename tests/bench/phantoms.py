"""How fast synthetic X-rays are written."""

import re
import tempfile
from collections.abc import Iterator
from typing import Any

from tests.bench.figure import figure, measure


def main() -> Iterator[dict[str, Any]]:
    """Yields images a second of `cxrflow data phantom`, start-up included."""
    with tempfile.TemporaryDirectory() as folder:
        made = measure(
            "-m", "cxrflow.pipeline.cli", "data", "phantom", "--to", f"{folder}/phantoms"
        )
    images = int(re.search(r"^([\d,]+) synthetic", made.output)[1].replace(",", ""))
    rate = images / made.seconds
    yield figure(
        "phantoms a second", rate, ">= 20 on 2 cores", rate >= 20, clock=True, images=images
    )
