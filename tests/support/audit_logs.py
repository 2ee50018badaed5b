"""Synthetic audit logs and a version that they are of: made, not measured."""

from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from pathlib import Path

import numpy as np
from scipy.special import expit

from cxrflow.schema.audit import Decision, ImageStatistics, Unlikeness
from cxrflow.schema.model_json import ModelJson, OutOfDistribution, write_model_json
from cxrflow.schema.store.manifest import Manifest, file_paths, read_file, write_manifest

CLASSES = ("Mass", "Big heart")
BEGIN = datetime(2026, 11, 2, 8, tzinfo=timezone.utc)  # Monday of 2026-W45


def people(count: int, seed: int, older: float = 0.0, women: float = 0.5, brighter: float = 0.0):
    """What is known of so many images, as `monitor.columns` names it."""
    random = np.random.default_rng(seed)
    return {
        "age": np.clip(random.normal(50 + older, 15, count), 0, 110).round().astype(int),
        "sex": np.where(random.random(count) < women, "F", "M"),
        "view": np.where(random.random(count) < 0.6, "PA", "AP"),
        "mean": random.normal(120 + brighter, 12, count),
        "deviation": random.normal(55, 6, count),
    }


def scores(count: int, seed: int, higher: float = 0.0) -> np.ndarray:
    """Probabilities [N, C]."""
    random = np.random.default_rng(1000 + seed)
    return expit(random.normal([-2 + higher, -1], 1.2, (count, 2)))


def decisions(
    count: int,
    seed: int,
    *,
    week: int = 0,
    version: int = 7,
    digest: str | None = None,
    unlike: float = 0.0,
    higher: float = 0.0,
    **changes: float,
) -> Iterator[Decision]:
    """A week's answers; `unlike`: share that may be no chest X-ray."""
    known, said = people(count, seed, **changes), scores(count, seed, higher)
    for i in range(count):
        at = BEGIN + timedelta(weeks=week, minutes=5 * i)
        time = at.isoformat(timespec="milliseconds").replace("+00:00", "Z")
        flagged = i < unlike * count
        yield Decision(
            id=f"{seed:04x}{version:04x}{i:016x}",
            time=time,
            received=time,
            sender="MODALITY",
            study="0" * 24,
            sop_instance="1" * 24,
            input_sha256="2" * 64,
            answer="out_of_distribution" if flagged else "findings",
            model="cxrflow",
            model_version=version,
            model_digest=digest,
            age=int(known["age"][i]),
            sex=str(known["sex"][i]),
            view=str(known["view"][i]),
            image=ImageStatistics(
                1024, 1024, float(known["mean"][i]), float(known["deviation"][i])
            ),
            scores=dict(zip(CLASSES, said[i].tolist(), strict=True)),
            ood=Unlikeness(30.0 if flagged else 3.0, 20.0, flagged),
        )


def write_log(path: Path, *parts: Iterator[Decision]) -> Path:
    """A log of these decisions."""
    path.write_text("".join(f"{one.line()}\n" for part in parts for one in part))
    return path


def made_version(base: Path, number: int = 7, statistics: bool = True) -> Path:
    """A pushed version without a graph, with training statistics of 3,000 images."""
    from cxrflow.components.monitor.columns import (
        IMAGE_DEVIATION,
        IMAGE_MEAN,
        people_columns,
        score_columns,
    )
    from cxrflow.components.monitor.statistics import (
        HELD_OUT,
        TRAIN,
        statistics_of,
        write_statistics,
    )

    folder = base / "cxrflow" / str(number)
    folder.mkdir(parents=True)
    told = OutOfDistribution(20.0, 0.99, 3000, 600)
    write_model_json(folder, ModelJson(CLASSES, name="made", out_of_distribution=told))
    if statistics:
        known = people(3000, 99)
        columns = people_columns(known["age"], known["sex"], known["view"])
        gray = {IMAGE_MEAN: known["mean"], IMAGE_DEVIATION: known["deviation"]}
        write_statistics(
            statistics_of({**gray, **columns}, TRAIN),
            statistics_of(score_columns(scores(900, 99), CLASSES), HELD_OUT),
            folder / "assets.extra",
        )
    files = tuple(read_file(folder, path) for path in file_paths(folder))
    write_manifest(folder, Manifest(number, files))
    return folder
