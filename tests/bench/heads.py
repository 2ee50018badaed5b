"""The heads on the real images of ../shared/data/nih-mini, over three seeds."""

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd

from tests.bench.figure import SHARED, figure, measure, skipped


def main() -> Iterator[dict[str, Any]]:
    """Yields each head's mean AUC on eval above the simple one's, paired by seed."""
    data, weights = SHARED / "data" / "nih-mini", SHARED / "weights"
    if not data.is_dir():
        yield skipped("heads", f"no {data}")
        return
    with tempfile.TemporaryDirectory() as root:
        ran = measure(
            *(
                "-m",
                "cxrflow.pipeline.cli",
                "study",
                "--profile",
                "nih_sample",
                "--data",
                str(data),
            ),
            *("--root", root, "--experiments", "head", "--set", f"train.weights_dir={weights}"),
        )
        curves = pd.read_csv(Path(root) / "study" / "head.csv")
    aucs = curves.groupby(["seed", "head"])["eval_auc"].max().unstack()
    for head in aucs.columns.drop("simple"):
        difference = aucs[head] - aucs["simple"]
        yield figure(
            f"head {head} above simple: mean AUC on eval, paired by seed",
            difference.mean(),
            "a table over >= 3 seeds",
            difference.count() >= 3,
            sd=round(difference.std(), 4),
            mean=round(aucs[head].mean(), 4),
            mean_of_simple=round(aucs["simple"].mean(), 4),
            seeds=int(difference.count()),
            minutes=round(ran.seconds / 60, 1),
        )
