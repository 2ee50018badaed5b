"""The page on a run's lineage: what ran on what, how long, from which data, code, settings."""

import json
import platform
from collections.abc import Sequence
from pathlib import PurePath
from typing import Any

from cxrflow.pipeline.reports.dashboard.blocks import (
    Cell,
    Chart,
    Fact,
    Facts,
    Missing,
    Section,
    Table,
    Text,
    columns,
    number,
    whole,
)
from cxrflow.pipeline.reports.dashboard.charts import bars
from cxrflow.pipeline.reports.dashboard.data_card import data_card_section
from cxrflow.pipeline.reports.dashboard.lineage import Artifact, PipelineRun, data_version
from cxrflow.pipeline.reports.dashboard.run_folder import RunFolder
from cxrflow.schema.model_json import ModelJson
from cxrflow.schema.packages import installed

_PACKAGES = (
    "cxrflow",
    "tensorflow",
    "keras",
    "tfx",
    "tensorflow-model-analysis",
    "apache-beam",
    "ml-metadata",
    "numpy",
    "scikit-learn",
)
_SHOWN_SETTINGS = 200


def lineage_sections(
    run: RunFolder, runs: Sequence[PipelineRun], why: str, info: ModelJson | None
) -> list[Section]:
    """The page's sections. `why`: words in place of `runs` where they can't be read."""
    facts = _facts(run, runs, info)
    if not runs:
        words = Missing("Executions and artifacts", why or "ML Metadata knows of no run here.")
        return [Section("", (facts, words)), _settings(run), _software()]
    last = runs[-1]
    return [
        Section("", (facts,)),
        Section("Time", (_times(runs),)),
        data_card_section(last),
        Section("Nodes", (_nodes(last), _artifacts(last))),
        _settings(run),
        _software(),
    ]


def _facts(run: RunFolder, runs: Sequence[PipelineRun], info: ModelJson | None) -> Facts:
    data = info.data if info and info.data else data_version(runs[-1]) if runs else ""
    items = [
        Fact(
            "started",
            f"{runs[-1].started:%d %b %H:%M}" if runs else "unknown",
            f"run {len(runs)} in this folder" if runs else "",
        ),
        Fact(
            "took",
            f"{run.seconds / 60:.1f} min" if run.seconds else "unknown",
            "cached nodes cost nothing",
        ),
        Fact("data", data[:8] or "unknown", "hash of images and tables"),
        Fact(
            "code",
            info.code[:8] if info and info.code else "unknown",
            "hash of what made the model",
        ),
        Fact(
            "pushed",
            PurePath(run.pushed).name if run.pushed else "nothing",
            "version" if run.pushed else "the gate let nothing through",
        ),
    ]
    return Facts(tuple(items))


def _times(runs: Sequence[PipelineRun]) -> Chart:
    """Charts the seconds of each node, in the run in which it last really ran."""
    latest: dict[str, float] = {}
    for run in runs:
        for one in run.executions:
            if one.state == "ran":
                latest[one.node] = one.seconds
    order = sorted(latest, key=lambda node: -latest[node])
    words = "Seconds by node: " + ", ".join(f"{n} {latest[n]:.1f}" for n in order) + "."
    return Chart(
        "Seconds that each node took when it last ran",
        bars(order, [latest[node] for node in order], "seconds", words),
        "A node whose inputs, settings and code are those of before comes from the cache.",
    )


def _nodes(run: PipelineRun) -> Table:
    rows = tuple(
        (
            Cell(one.node),
            whole(one.number),
            Cell(
                one.state,
                mark="words "
                + ("soft" if one.state == "from cache" else "bad" if one.state == "broke" else ""),
            ),
            number(one.seconds, 1) if one.state == "ran" else Cell("–", float("inf"), "soft"),
            Cell(_listed(one.inputs), mark="words"),
            Cell(_listed(one.outputs), mark="words"),
            Cell(one.settings.get("code_version", "")[:12], mark="words"),
        )
        for one in run.executions
    )
    names = ("node", "execution", "state", "seconds", "reads", "writes", "code")
    return Table(
        "Executions of the last run",
        columns(*names, words=("state", "reads", "writes", "code")),
        rows,
        note="From ML Metadata. Names with numbers are channels and the artifacts in them; code is "
        "the hash of all that the node runs of cxrflow.",
    )


def _listed(sides: Any) -> str:
    return (
        ", ".join(
            f"{channel} {' '.join(f'#{one.number}' for one in found)}"
            for channel, found in sides.items()
        )
        or "–"
    )


def _artifacts(run: PipelineRun) -> Table:
    made_by: dict[int, tuple[str, str, Artifact]] = {}
    for one in run.executions:
        for channel, found in one.outputs.items():
            for artifact in found:
                made_by[artifact.number] = (one.node, channel, artifact)
    rows = tuple(
        (
            Cell(f"#{number_}", number_),
            Cell(artifact.kind, mark="words"),
            Cell(f"{node}, {channel}", mark="words"),
            Cell(artifact.uri, mark="words"),
            Cell(_told(artifact), mark="words soft"),
        )
        for number_, (node, channel, artifact) in sorted(made_by.items())
    )
    return Table(
        "Artifacts of the last run",
        columns(
            "artifact",
            "kind",
            "made by",
            "folder",
            "told",
            words=("kind", "made by", "folder", "told"),
        ),
        rows,
        note="Folders are relative to the run's own, which can be moved or copied as a whole.",
    )


def _told(artifact: Artifact) -> str:
    shown = [
        f"{name} {value}" for name, value in sorted(artifact.properties.items()) if len(value) < 40
    ]
    return ", ".join(shown[:6])


def _settings(run: RunFolder) -> Section:
    flat = _flat(run.config)
    if not flat:
        return Section("Settings", (Missing("Settings", "The run's record has none."),))
    rows = tuple((Cell(name), Cell(value, mark="words")) for name, value in flat[:_SHOWN_SETTINGS])
    table = Table("Settings of the last run", columns("setting", "value", words=("value",)), rows)
    more = len(flat) - len(rows)
    note = (Text(f"{more} more stand in run.json.", "note"),) if more > 0 else ()
    return Section("Settings", (table, *note))


def _flat(value: Any, name: str = "") -> list[tuple[str, str]]:
    if isinstance(value, dict) and value:
        return [
            pair
            for key, inner in value.items()
            for pair in _flat(inner, f"{name}.{key}" if name else str(key))
        ]
    if not name:
        return []
    return [
        (
            name,
            ", ".join(map(str, value)) if isinstance(value, list) else json.dumps(value).strip('"'),
        )
    ]


def _software() -> Section:
    rows = [(Cell("Python"), Cell(platform.python_version(), mark="words"))]
    rows += [
        (Cell(name), Cell(found, mark="words")) for name in _PACKAGES if (found := installed(name))
    ]
    table = Table(
        "Versions",
        columns("package", "version", words=("version",)),
        tuple(rows),
        note="Of the environment that made this report.",
    )
    return Section("Software", (table,))
