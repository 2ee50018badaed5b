"""What a gateway's audit log shows, week by week, against what the model was trained on."""

import hashlib
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from pathlib import Path

from cxrflow.components.monitor.columns import asked_columns
from cxrflow.components.monitor.drift import Finding, Status, judge, judge_unlike
from cxrflow.components.monitor.settings import MonitorConfig
from cxrflow.components.monitor.statistics import (
    HELD_OUT,
    TRAIN,
    images_of,
    read_statistics,
    statistics_of,
)
from cxrflow.components.publish.models import find_model
from cxrflow.schema.audit import Decision, read_audit
from cxrflow.schema.errors import CxrflowError
from cxrflow.schema.model_json import ModelJson, read_model_json
from cxrflow.schema.store.manifest import MANIFEST
from cxrflow.schema.store.versions import parse_version, served_version


@dataclass(frozen=True)
class Week:
    """The answers of an ISO week."""

    name: str  # 2026-W47
    first: date  # its Monday
    answers: int
    findings: tuple[Finding, ...]

    @property
    def status(self) -> Status:
        """Drift where a feature drifts; not judged where none could be."""
        found = {one.status for one in self.findings}
        return "drift" if "drift" in found else "none" if "none" in found else "not judged"


@dataclass(frozen=True)
class Monitored:
    """What a log says of a model."""

    model: str
    version: int
    info: ModelJson
    train_images: int
    held_out_images: int
    weeks: tuple[Week, ...]  # in order
    unasked: dict[str, int]  # decisions without the model: reason -> how many
    others: dict[str, int]  # by other models or versions

    @property
    def judged(self) -> Week | None:
        """The newest week that could be judged, by which a scheduler is told."""
        return next((w for w in reversed(self.weeks) if w.status != "not judged"), None)

    @property
    def drifts(self) -> bool:
        """Whether that week drifts."""
        return self.judged is not None and self.judged.status == "drift"

    @property
    def answers(self) -> int:
        """Number of the model's answers in all weeks."""
        return sum(week.answers for week in self.weeks)


def pushed_version(folder: Path) -> Path:
    """The version that is meant: a version's folder, a model's (its stable version), or a run's or
    serving root's.

    Raises:
        CxrflowError: there is none.
    """
    if (folder / MANIFEST).is_file():
        return folder
    if not folder.is_dir():
        raise CxrflowError(f"no folder {folder}: --model takes a pushed version, or a run's folder")
    base = folder
    stable = served_version(folder)
    if stable is None:
        base = find_model(folder)
        stable = served_version(base)
    found = base / str(stable)
    if not (found / MANIFEST).is_file():
        raise CxrflowError(f"{found} is no pushed version: it has no {MANIFEST}")
    return found


def monitor(logs: Sequence[Path], folder: Path, config: MonitorConfig) -> Monitored:
    """Judges each week of a model's answers.

    Args:
        logs: audit logs, one after the other.
        folder: see `pushed_version`.
        config: what is allowed.

    Raises:
        CxrflowError: a log or the model can't be read, the model has no training statistics, or no
            answer is this model's.
    """
    version = pushed_version(folder)
    info, trained = read_model_json(version), read_statistics(version)
    number = parse_version(version.name) or 0
    mine: dict[date, list[Decision]] = {}
    unasked: Counter[str] = Counter()
    others: Counter[str] = Counter()
    is_mine = _Mine(version, number)
    for one in _decisions(logs):
        if one.model is None or not one.scores:
            unasked[one.answer or "no answer"] += 1
        elif is_mine(one):
            mine.setdefault(_monday(one), []).append(one)
        else:
            others[f"{one.model} {one.model_version}"] += 1
    if not mine:
        raise CxrflowError(_nothing(logs, version, unasked, others))
    weeks = []
    for first in sorted(mine):
        asked = statistics_of(asked_columns(mine[first], info.classes), "asked")
        findings = [*judge(asked, trained[TRAIN], trained[HELD_OUT], config)]
        if info.out_of_distribution:
            flags = [
                one.ood.flagged for one in mine[first] if one.ood and one.ood.flagged is not None
            ]
            quantile = info.out_of_distribution.quantile
            findings.append(judge_unlike(sum(flags), len(flags), quantile, config))
        year, week, _ = first.isocalendar()
        weeks.append(Week(f"{year}-W{week:02d}", first, len(mine[first]), tuple(findings)))
    return Monitored(
        version.parent.name,
        number,
        info,
        images_of(trained[TRAIN]),
        images_of(trained[HELD_OUT]),
        tuple(weeks),
        dict(unasked.most_common()),
        dict(others.most_common()),
    )


class _Mine:
    """Tells the answers of one version: by its manifest's sum, else by name and number."""

    def __init__(self, version: Path, number: int):
        self._digest = hashlib.sha256((version / MANIFEST).read_bytes()).hexdigest()
        self._name, self._number = version.parent.name, number

    def __call__(self, one: Decision) -> bool:
        if one.model_digest is not None:
            return one.model_digest == self._digest
        return (one.model, one.model_version) == (self._name, self._number)


def _decisions(logs: Sequence[Path]) -> Iterable[Decision]:
    """Yields the decisions of all logs, each once."""
    seen: set[str] = set()
    for log in logs:
        for one in read_audit(log):
            if one.id not in seen:
                seen.add(one.id)
                yield one


def _monday(one: Decision) -> date:
    try:
        day = datetime.fromisoformat(one.time.replace("Z", "+00:00")).date()
    except ValueError:
        raise CxrflowError(f"decision {one.id} has the time {one.time!r}, which is none") from None
    return date.fromisocalendar(*day.isocalendar()[:2], 1)


def _nothing(
    logs: Sequence[Path], version: Path, unasked: Counter[str], others: Counter[str]
) -> str:
    there = [f"{count:,} of {name}" for name, count in others.most_common(3)]
    there += [f"{count:,} without a model ({name})" for name, count in unasked.most_common(2)]
    said = f"only {', '.join(there)}" if there else "no decision at all"
    return (
        f"{', '.join(map(str, logs))}: no answer is of {version.parent.name} {version.name}, "
        f"{said}; --model names another version"
    )
