"""The real images of ../shared/data/nih-mini: time, memory, what must be beaten."""

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from cxrflow.pipeline.reports.baseline import baselines
from cxrflow.pipeline.reports.summary import verdict
from cxrflow.pipeline.run import Run
from tests.bench.figure import SHARED, figure, measure, skipped


def main() -> Iterator[dict[str, Any]]:
    """Yields minutes, peak memory, the test AUC above the baseline's and the best member's."""
    data, weights = SHARED / "data" / "nih-mini", SHARED / "weights"
    if not data.is_dir():
        yield skipped("nih_mini", f"no {data}")
        return
    with tempfile.TemporaryDirectory() as root:
        ran = measure(
            *("-m", "cxrflow.pipeline.cli", "run", "--profile", "nih_mini", "--data", str(data)),
            *("--root", root, "--set", f"train.weights_dir={weights}"),
        )
        minutes, gb = ran.seconds / 60, ran.peak_mb / 1024
        yield figure("minutes of `cxrflow run --profile nih_mini`", minutes, "<= 30", minutes <= 30)
        yield figure("nih_mini: peak memory in GB", gb, "<= 4", gb <= 4)
        run = Run.read(Path(root))
        floor = baselines(run)[0].test_mean_auc
        mean = verdict(run).mean_auc
        members = {
            name: verdict(run, f"Gate.{name}").mean_auc_of("test") for name in run.config["models"]
        }
        gain = mean - max(members.values())
        yield figure(
            "nih_mini: the ensemble's mean test AUC above its best member's",
            gain,
            ">= .01",
            gain >= 0.01,
            **{name: round(auc, 4) for name, auc in members.items()},
        )
        yield figure(
            "nih_mini: mean test AUC above the baseline's",
            mean - floor,
            ">= .015",
            mean - floor >= 0.015,
            model=round(mean, 4),
            baseline=round(floor, 4),
        )
