import csv
from pathlib import Path
from statistics import fmean

import pytest

from cxrflow.schema.classes import CLASSES_14, DEFAULT_CLASSES

PATH = Path(__file__).resolve().parents[2] / "schema" / "reference.csv"


@pytest.mark.parametrize(
    ("source", "mean"),
    [
        ("Wang 2017", 0.745),
        ("ResNet-18 2026", 0.789),
        ("SwinCheX 2022", 0.810),
        ("metadata only", 0.590),
        ("CheXNet 2017", 0.841),
        ("2019 study", 0.785),
    ],
)
def test_published_classes_have_their_published_mean(source, mean):
    with PATH.open() as file:
        rows = [row for row in csv.DictReader(file) if row["source"] == source]
    classes = DEFAULT_CLASSES if source == "2019 study" else CLASSES_14
    assert tuple(row["class"] for row in rows) == classes
    assert len({row["split"] for row in rows}) == 1 and rows[0]["split"]
    assert fmean(float(row["auc"]) for row in rows) == pytest.approx(mean, abs=0.0006)
