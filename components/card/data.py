"""Who and what is in each split, counted from the examples without their pixels."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

from cxrflow.schema import features


@dataclass(frozen=True)
class SplitCounts:
    """One split."""

    name: str
    images: int
    patients: int
    women: float  # share of the images of which it is known, likewise the next
    pa: float
    no_finding: float  # of all images: none of the findings, and none of them unknown
    ages: tuple[int, float, int] | None  # lowest, median, highest; None where none is known
    positives: dict[str, int] = field(default_factory=dict)  # images by class
    unknown: dict[str, int] = field(default_factory=dict)  # those of which a class isn't known


def count_splits(records: Path, classes: Sequence[str]) -> tuple[SplitCounts, ...]:
    """Counts the splits of raw tf.Examples that lie in `<records>/Split-<name>/`."""
    return tuple(
        _count(name, folder, classes)
        for name in features.SPLITS
        if (folder := records / f"Split-{name}").is_dir()
    )


def _count(name: str, folder: Path, classes: Sequence[str]) -> SplitCounts:
    import tensorflow as tf  # slow to import

    from cxrflow.components.images.records import split_records

    patients: set[bytes] = set()
    ages: list[int] = []
    seen: Counter[str] = Counter()
    positives: Counter[str] = Counter(dict.fromkeys(classes, 0))
    unknown: Counter[str] = Counter()
    for record in split_records(folder):
        example = tf.train.Example.FromString(record.numpy()).features.feature
        patients.add(example[features.PATIENT_ID].bytes_list.value[0])
        ages.append(example[features.AGE].int64_list.value[0])
        findings = [value.decode() for value in example[features.FINDINGS].bytes_list.value]
        positives.update(set(findings) & set(classes))
        for what, feature, value in (("women", features.SEX, "F"), ("pa", features.VIEW, "PA")):
            said = example[feature].bytes_list.value[0].decode()
            seen[what] += said == value
            seen[f"{what} known"] += said != features.UNKNOWN
        not_known = {v.decode() for v in example[features.UNKNOWN_FINDINGS].bytes_list.value}
        unknown.update(not_known & set(classes))
        seen["none"] += not (findings or not_known)
    images = max(len(ages), 1)
    known = [age for age in ages if age != features.UNKNOWN_AGE]
    return SplitCounts(
        name=name,
        images=len(ages),
        patients=len(patients),
        women=seen["women"] / max(seen["women known"], 1),
        pa=seen["pa"] / max(seen["pa known"], 1),
        no_finding=seen["none"] / images,
        ages=(min(known), median(known), max(known)) if known else None,
        positives=dict(positives),
        unknown=dict(unknown),
    )
