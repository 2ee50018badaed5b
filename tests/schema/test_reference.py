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


def test_published_localisation_is_wang_s_table():
    """Four of Table 4's forty accuracies, by hand; none grows as more of a box must be found."""
    path = PATH.with_name("localisation_reference.csv")
    with path.open() as file:
        rows = {
            (row["class"], float(row["overlap"])): float(row["accuracy"])
            for row in csv.DictReader(file)
        }
    assert len(rows) == 40
    assert rows["Atelectasis", 0.1] == 0.7277 and rows["Cardiomegaly", 0.25] == 0.9794
    assert rows["Nodule", 0.9] == 0.0126 and rows["Pneumothorax", 0.5] == 0.1836
    for name in {name for name, _ in rows}:
        accuracies = [rows[name, overlap] for overlap in (0.1, 0.25, 0.5, 0.75, 0.9)]
        assert accuracies == sorted(accuracies, reverse=True)
