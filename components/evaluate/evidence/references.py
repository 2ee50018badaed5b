"""Published figures as lower bounds, where they are of the same patients."""

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from cxrflow.components.evaluate.settings import SplitKind
from cxrflow.components.evaluate.verdict import ReferenceVerdict
from cxrflow.schema.errors import CxrflowError, did_you_mean

REFERENCE = Path(__file__).resolve().parents[3] / "schema" / "reference.csv"
OFFICIAL = "official test list"  # column `split`
OFFICIAL_IMAGES = 25_596  # of NIH's test_list.txt, Wang et al., CVPR 2017
_WHOLE = 0.99  # share of these that a test split must have to be the same cohort


@dataclass(frozen=True)
class Source:
    """Published AUCs."""

    name: str
    split: str
    aucs: Mapping[str, float]  # by class


def read_sources() -> dict[str, Source]:
    """What schema/reference.csv holds, by name."""
    found: dict[str, Source] = {}
    with REFERENCE.open(encoding="utf-8") as file:
        for row in csv.DictReader(file):
            source = found.setdefault(row["source"], Source(row["source"], row["split"], {}))
            found[row["source"]] = Source(
                source.name, source.split, {**source.aucs, row["class"]: float(row["auc"])}
            )
    return found


def judge_references(
    names: Sequence[str], split_kind: SplitKind, images: int, synthetic: bool
) -> tuple[ReferenceVerdict, ...]:
    """Whether each source may be a bound: same split, same patients.

    Args:
        names: of the sources.
        split_kind: how this run's test was split off.
        images: in test.
        synthetic: they are phantoms.

    Raises:
        CxrflowError: there is no such source.
    """
    sources = read_sources()
    for name in names:
        if name not in sources:
            raise CxrflowError(
                f"evaluate.references: schema/reference.csv has no source {name!r}"
                f"{did_you_mean(name, list(sources))}: it has {', '.join(sources)}"
            )
    return tuple(_judged(sources[name], split_kind, images, synthetic) for name in names)


def bars_of(found: Sequence[ReferenceVerdict], classes: Sequence[str]) -> dict[str, float]:
    """The highest AUC that a comparable source reports, by class."""
    sources = read_sources()
    bars: dict[str, float] = {}
    for item in found:
        if item.comparable:
            for name, auc in sources[item.source].aucs.items():
                if name in classes:
                    bars[name] = max(auc, bars.get(name, 0.0))
    return bars


def _judged(
    source: Source, split_kind: SplitKind, images: int, synthetic: bool
) -> ReferenceVerdict:
    if synthetic:
        reason = "these X-rays are synthetic"
    elif source.split != OFFICIAL:
        reason = f"it is of {source.split}, drawn otherwise than this run's"
    elif split_kind != OFFICIAL:
        reason = f"it is of the {OFFICIAL}, this run's test split is by {split_kind}"
    elif images < _WHOLE * OFFICIAL_IMAGES:
        reason = (
            f"it is of all {OFFICIAL_IMAGES:,} images of the {OFFICIAL}, this run has {images:,}"
        )
    else:
        return ReferenceVerdict(source.name, True, f"the {OFFICIAL}, {images:,} images")
    return ReferenceVerdict(source.name, False, reason)
