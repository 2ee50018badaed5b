"""The page on the data: which X-rays, whose, with which findings, and what was set aside."""

import csv
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from cxrflow.components.ingest.quarantine import REPORT, SUMMARY
from cxrflow.pipeline.reports.dashboard.blocks import (
    Block,
    Cell,
    Chart,
    Fact,
    Facts,
    Missing,
    Section,
    Table,
    Text,
    columns,
    finding,
    number,
    whole,
)
from cxrflow.pipeline.reports.dashboard.charts import bars
from cxrflow.pipeline.reports.dashboard.records import Records, read_records
from cxrflow.pipeline.reports.dashboard.run_folder import RunFolder
from cxrflow.schema.errors import CxrflowError
from cxrflow.schema.features import SPLITS, UNKNOWN_AGE
from cxrflow.schema.text import visible

NO_FINDING = "No Finding"
_SHOWN_ROWS = 50  # of the quarantine; the file has them all
_GONE = "ImageExampleGen's output isn't in the run's folder any more: run the pipeline again."


def data_sections(run: RunFolder) -> list[Section]:
    """The page's sections; words stand where the run has no figures."""
    records: dict[str, Records] = {}
    why = _GONE
    if folder := run.output("ImageExampleGen", "records"):
        for split in SPLITS:
            try:
                records[split] = read_records(folder, split)
            except CxrflowError as error:
                why = str(error)
    if not records:
        counts: tuple[Block, ...] = (Missing("Images, patients and classes", why),)
        return [Section("", counts), _distances(run), _quarantine(run)]
    patients = [set(part.patient_id) for part in records.values()]
    shared = sum(map(len, patients)) - len(set().union(*patients))
    return [
        Section("", (_facts(run, records, shared), _splits(records, shared))),
        _classes(records, run.ingest["classes"]),
        Section("Findings that come together", (_together(records, run.ingest["classes"]),)),
        _distances(run),
        _quarantine(run),
    ]


def _facts(run: RunFolder, records: Mapping[str, Records], shared: int) -> Facts:
    images = sum(len(part.age) for part in records.values())
    everyone = {one for part in records.values() for one in part.patient_id}
    normal = sum(map(_normal, records.values()))
    return Facts(
        (
            Fact("X-rays", f"{images:,}", f"in {visible(run.data_dir.name)}"),
            Fact("patients", f"{len(everyone):,}", f"{images / len(everyone):.1f} X-rays each"),
            Fact(
                "patients in two splits",
                f"{shared:,}",
                "as it must be" if not shared else "figures on test can't be trusted",
                "bad" if shared else "good",
            ),
            Fact("X-rays without a finding", f"{normal / images:.0%}", f"{normal:,} images"),
        )
    )


def _splits(records: Mapping[str, Records], shared: int) -> Table:
    def row(split: str, part: Records) -> tuple[Cell, ...]:
        n = len(part.age)
        known = part.age[part.age != UNKNOWN_AGE]
        low, middle, high = np.percentile(known, [25, 50, 75]) if len(known) else (0, 0, 0)
        age = f"{middle:.0f} ({low:.0f} to {high:.0f})" if len(known) else "unknown"
        return (
            Cell(split),
            whole(n),
            whole(len(set(part.patient_id))),
            Cell(age, float(middle)),
            _share(part.sex.count("F"), n),
            _share(part.view.count("AP"), n),
            _share(_normal(part), n),
        )

    names = ("split", "images", "patients", "age, median and quartiles", "women", "AP view")
    return Table(
        "Splits",
        columns(*names, "no finding"),
        tuple(row(split, part) for split, part in records.items()),
        note=("" if shared else "No patient is in two of them. ")
        + "The model learned from train, everything was chosen on "
        "eval, and test was read once.",
    )


def _normal(part: Records) -> int:
    """Images without a finding, and without one that is unknown."""
    return sum(
        not (has or not_known) for has, not_known in zip(part.findings, part.unknown, strict=True)
    )


def _share(part: int, of: int) -> Cell:
    return Cell(f"{part / of:.1%}", part / of)


def _classes(records: Mapping[str, Records], classes: Sequence[str]) -> Section:
    found = {
        split: Counter(name for names in part.findings for name in names)
        for split, part in records.items()
    }
    patients = {
        split: {
            name: len({p for p, n in zip(part.patient_id, part.findings, strict=True) if name in n})
            for name in classes
        }
        for split, part in records.items()
    }
    rows = []
    for name in classes:
        row = [Cell(finding(name))]
        for split, part in records.items():
            n = found[split][name]
            known = sum(name not in one for one in part.unknown)
            row += [whole(n), whole(patients[split][name]), _share(n, max(known, 1))]
        rows.append(tuple(row))
    total = {name: sum(part[name] for part in found.values()) for name in classes}
    order = sorted(classes, key=lambda name: -total[name])
    words = "Images by class: " + ", ".join(f"{name} {total[name]:,}" for name in order) + "."
    left_out = sorted({name for part in found.values() for name in part} - set(classes))
    blocks: list[Block] = [
        Chart(
            "Images with each finding, all splits",
            bars([finding(n) for n in order], [total[n] for n in order], "images", words),
        ),
        Table(
            "Findings by split",
            columns("finding", *("images", "patients", "share") * len(records)),
            tuple(rows),
            groups=(("", 1), *((split, 3) for split in records)),
        ),
    ]
    if left_out:
        blocks.append(Text(f"Not among the model's classes: {', '.join(left_out)}.", "note"))
    unknown = Counter(name for part in records.values() for one in part.unknown for name in one)
    if said := ", ".join(f"{finding(n)} {unknown[n]:,}" for n in classes if unknown[n]):
        blocks.append(
            Text(
                f"Images of which a finding is unknown, by finding: {said}. They count in no "
                "share, no loss and no figure of it.",
                "note",
            )
        )
    if empty := [
        f"{name} in {split}" for split in found for name in classes if not found[split][name]
    ]:
        blocks.append(
            Text(f"No image at all: {', '.join(empty)}. No score of it can be had there.", "note")
        )
    return Section("Findings", tuple(blocks))


def _together(records: Mapping[str, Records], classes: Sequence[str]) -> Table:
    sets = [set(names) for part in records.values() for names in part.findings]
    of = {name: [one for one in sets if name in one] for name in classes}
    rows = []
    for name in classes:
        row = [Cell(finding(name)), whole(len(of[name]))]
        for other in classes:
            both = sum(other in one for one in of[name])
            share = both / len(of[name]) if of[name] else 0.0
            text = "–" if other == name else f"{share:.0%}" if both else ""
            row.append(
                Cell(text, -1.0 if other == name else share, shade=0 if other == name else share)
            )
        alone = sum(len(one) == 1 for one in of[name])
        row.append(
            Cell(f"{alone / len(of[name]):.0%}" if of[name] else "–", alone / max(len(of[name]), 1))
        )
        rows.append(tuple(row))
    return Table(
        "Of the images with the row's finding, the share that has the column's too",
        columns("finding", "images", *map(finding, classes), "none other"),
        tuple(rows),
        narrow=True,
        note="All splits. What often comes together can be told apart less well, and a model may "
        "score one by the signs of the other.",
    )


def _distances(run: RunFolder) -> Section:
    title = "Do the splits look alike?"
    folder = run.output("ValidationGate", "report")
    report = _json(folder / "report.json") if folder else None
    if not report or "distances" not in report:
        return Section(
            title,
            (Missing("Distances between splits", "The run has no report of ValidationGate."),),
        )
    rows = tuple(
        (
            Cell(one["feature"]),
            Cell(one["split"], mark="words"),
            number(one["value"]),
            number(one["limit"]),
            Cell("yes", mark="good") if one["value"] <= one["limit"] else Cell("no", mark="bad"),
        )
        for one in report["distances"]
    )
    return Section(
        title,
        (
            Table(
                "Distance of each split from train",
                columns("feature", "split", "distance", "limit", "within", words=("split",)),
                rows,
                note="Largest distance between the shares of two values (L∞), or Jensen-Shannon "
                "divergence of ages; ValidationGate stops a run beyond the limit, which allows for "
                "chance.",
            ),
        ),
    )


def _quarantine(run: RunFolder) -> Section:
    title = "Set aside (quarantine)"
    folder = run.output("ImageExampleGen", "quarantine")
    summary = _json(folder / SUMMARY) if folder else None
    if not folder or not summary:
        return Section(title, (Missing("Rows that were set aside", _GONE),))
    said = Text(f"{summary['set_aside']:,} of {summary['rows']:,} rows were set aside.")
    if not summary["set_aside"]:
        return Section(title, (said,))
    reasons = Table(
        "Reasons",
        columns("reason", "rows"),
        tuple((Cell(name.replace("_", " ")), whole(n)) for name, n in summary["reasons"].items()),
    )
    with (folder / REPORT).open(newline="", encoding="utf-8") as file:
        rows = [row for _, row in zip(range(_SHOWN_ROWS), csv.DictReader(file), strict=False)]
    listed = Table(
        "The first of them" if len(rows) < summary["set_aside"] else "All of them",
        columns("image", "row", "reason", "detail", words=("reason", "detail")),
        tuple(
            (
                Cell(visible(row["image"])),
                whole(int(row["row"])),
                Cell(row["reason"].replace("_", " "), mark="words"),
                Cell(visible(row["detail"]), mark="words"),
            )
            for row in rows
        ),
        note=f"Row: line of the table, the header is 1. {REPORT} in the run's folder lists all.",
    )
    return Section(title, (said, reasons, listed))


def _json(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
