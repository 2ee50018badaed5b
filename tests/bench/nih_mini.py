"""The real images of ../shared/data/nih-mini: time, memory, and what the model is worth."""

import tempfile
from collections.abc import Iterator
from pathlib import Path
from statistics import fmean
from typing import Any

from cxrflow.pipeline.reports.summary import verdict
from cxrflow.pipeline.run import Run
from tests.bench.figure import SHARED, figure, measure, skipped

LEARNED, TEST = "out_of_fold", "test"  # splits


def main() -> Iterator[dict[str, Any]]:
    """Yields minutes, memory of the largest process, and the figures `of_run`."""
    data, weights = SHARED / "data" / "nih-mini", SHARED / "weights"
    if not data.is_dir():
        yield skipped("nih_mini", f"no {data}")
        return
    with tempfile.TemporaryDirectory() as root:
        ran = measure(
            *("-m", "cxrflow.pipeline.cli", "run", "--profile", "nih_mini", "--data", str(data)),
            *("--root", root, "--set", f"train.weights_dir={weights}"),
        )
        minutes, gb = ran.seconds / 60, ran.peak_gb
        yield figure("nih_mini: minutes", minutes, "<= 12", minutes <= 12, clock=True)
        yield figure("nih_mini: CPU minutes", ran.cpu_seconds / 60, "", True, clock=True)
        yield figure("nih_mini: GB of memory of the largest process", gb, "<= 4", gb <= 4)
        yield from of_run(Path(root))


def of_run(root: Path) -> Iterator[dict[str, Any]]:
    """Yields mean AUCs of the model that a finished run judged, beside others, and its ECE."""
    found = verdict(Run.read(root))
    for split in (LEARNED, TEST):
        compared = [one for one in found.differences if one.split == split]
        auc = compared[0].model_auc
        yield figure(f"nih_mini: mean AUC, {split}", auc, "", True)
        for one in compared:
            gap = one.difference
            name = one.name if one.name in ("probe", "metadata") else "best member"
            yield figure(
                f"nih_mini: mean AUC above {name}, {split}",
                gap.value,
                "interval above 0",
                gap.low > 0,
                other=round(one.auc, 4),
                of=one.name,
                text=f"{gap.value:+.3f} ({gap.low:+.3f} to {gap.high:+.3f})",
            )
    interval = found.judged_auc
    yield figure(
        "nih_mini: mean AUC of the judged classes, test",
        interval.value,
        "",
        True,
        text=f"{interval.value:.3f} ({interval.low:.3f} to {interval.high:.3f})",
    )
    ece = fmean(item.result.ece for item in found.classes)
    yield figure("nih_mini: ECE, mean of the classes, test", ece, "<= .05", ece <= 0.05)
