import csv
from pathlib import Path
from statistics import fmean

import pytest

from schema.classes import CLASSES_14

PATH = Path(__file__).resolve().parents[2] / "schema" / "reference.csv"


@pytest.mark.parametrize(
    ("source", "mean"),
    [
        ("Wang 2017", 0.745),
        ("ResNet-18 2026", 0.789),
        ("SwinCheX 2022", 0.810),
        ("metadata only", 0.590),
    ],
)
def test_published_classes_have_their_published_mean(source, mean):
    with PATH.open() as file:
        rows = [row for row in csv.DictReader(file) if row["source"] == source]
    assert tuple(row["class"] for row in rows) == CLASSES_14
    assert fmean(float(row["auc"]) for row in rows) == pytest.approx(mean, abs=0.0006)
