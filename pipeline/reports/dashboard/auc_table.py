"""The table of per-class AUCs: this run's models beside published ones."""

import csv
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from cxrflow.schema.portable.scores import mean_auc

REFERENCE = Path(__file__).resolve().parents[3] / "schema" / "reference.csv"


@dataclass(frozen=True)
class Column:
    """One model's AUC by class; NaN where it has none."""

    name: str
    aucs: dict[str, float]


@dataclass(frozen=True)
class Group:
    """Columns under one heading; published ones are of the split that it names."""

    title: str
    columns: tuple[Column, ...]
    published: bool = False


@dataclass(frozen=True)
class Table:
    """AUCs of one split of this run, beside published ones."""

    split: str
    about: str  # which patients
    classes: tuple[str, ...]
    positives: dict[str, int]
    few: dict[str, str]  # by class: words in place of this run's AUC, or empty
    groups: tuple[Group, ...]
    notes: tuple[str, ...] = ()

    def mean(self, column: Column) -> float:
        """Over the classes whose AUC this run shows, so that columns compare; NaN if none is."""
        return mean_auc(column.aucs[name] for name in self.classes if not self.few[name])


def columns(
    aucs: Mapping[str, Mapping[str, float | None]], names: Iterable[str], classes: Sequence[str]
) -> tuple[Column, ...]:
    """Columns of these names; null or missing AUCs become NaN."""
    return tuple(
        Column(name, {c: _auc(aucs[name].get(c)) for c in classes})
        for name in names
        if name in aucs
    )


def published(classes: Sequence[str]) -> tuple[Group, ...]:
    """The columns of schema/reference.csv, a group for each split, without other classes."""
    found: dict[str, dict[str, dict[str, float]]] = {}  # split -> source -> class -> AUC
    with REFERENCE.open() as file:
        for row in csv.DictReader(file):
            of_source = found.setdefault(row["split"], {}).setdefault(row["source"], {})
            of_source[row["class"]] = float(row["auc"])
    return tuple(
        Group(f"published: {split}", columns(aucs, aucs, classes), published=True)
        for split, aucs in found.items()
    )


def _auc(value: float | None) -> float:
    return float("nan") if value is None else value
