"""`cxrflow data check`: what a run would make of a data folder, without running it."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cxrflow.components.ingest.image import BadImage, read_header
from cxrflow.components.ingest.plan import Plan, Settings, good_rows, limits, make_plan, why_stop
from cxrflow.components.ingest.quarantine import Problem, count_reasons
from cxrflow.components.ingest.source.settings import DataConfig
from cxrflow.schema.classes import CLASSES_14, NO_FINDING
from cxrflow.schema.features import SPLITS
from cxrflow.schema.portable.image_rules import Limits
from cxrflow.schema.portable.label_table import shown
from cxrflow.schema.progress import report as report_progress

if TYPE_CHECKING:
    import pandas as pd
    from rich.console import RenderableType

# Wang et al., CVPR 2017, and NIH's official lists; the Kaggle sample's count is on its page.
FULL_SET = {"rows": 112_120, "patients": 30_805, "train_val": 86_524, "test": 25_596}
SAMPLE_ROWS = 5_606
_NEARLY_FULL = 100_000  # a table with more rows is meant to be the whole set
_THREADS = 8  # more than cores: cold disks answer slowly


@dataclass(frozen=True)
class CheckReport:
    """What lies in a data folder, and whether a run would accept it."""

    folder: str
    synthetic: bool
    table: str  # file name
    split: str  # official or hash
    rows: int  # in the table, bad ones included
    outside: int  # rows that the cohort leaves out
    images: dict[str, int]  # good images per split
    patients: dict[str, int]  # their patients per split
    shared_patients: int  # in more than one split; 0 unless the code is wrong
    positives: dict[str, dict[str, int]]  # class or No Finding -> split -> good images
    unknown: dict[str, int]  # class of a described source -> good images whose label is ignored
    problems: list[Problem]
    unlisted: list[str]  # image files that no row names
    broken_invariants: list[str]  # of the published set, one sentence each
    whole: bool  # every byte was read, not only the headers
    stop: str | None  # why a run would stop, None if it would not


def check_folder(
    data_dir: str, settings: Settings, *, source: DataConfig | None = None, whole: bool = True
) -> CheckReport:
    """Judges every row and image of `data_dir` as a run with `settings` would.

    Args:
        data_dir: in one of Kaggle's layouts, or as `source` says.
        settings: `dataclasses.asdict` of the run's IngestConfig.
        source: what describes the folder.
        whole: read every byte (45 GB for the full set); else only headers and ends, which finds
            all but flipped bits.

    Raises:
        CxrflowError: there is no folder, table or image, columns are missing, or the official
            lists contradict each other.
    """
    plan = make_plan(data_dir, settings, source)
    problems = plan.problems + _judge_images(plan, settings, whole)
    good = good_rows(plan, problems)
    images = good["split"].value_counts().to_dict()
    official = plan.folder.test_list is not None and settings["split"] != "hash"
    own = source is not None and source.has_own_test and settings["split"] != "hash"
    return CheckReport(
        folder=str(data_dir),
        synthetic=plan.folder.synthetic,
        table=shown(plan.folder.table.name),
        split="official" if official else "the source's" if own else "hash",
        rows=plan.considered + plan.outside,
        outside=plan.outside,
        images={split: int(images.get(split, 0)) for split in SPLITS},
        patients=_patients(good),
        shared_patients=int((good.groupby("patient_id")["split"].nunique() > 1).sum()),
        positives=_positives(good, source.labels.names if source else CLASSES_14),
        unknown=_unknown(good),
        problems=problems,
        unlisted=plan.unlisted,
        broken_invariants=[] if plan.folder.synthetic or source else _broken_invariants(plan),
        whole=whole,
        stop=why_stop(plan, problems, images, settings),
    )


def _judge_images(plan: Plan, settings: Settings, whole: bool) -> list[Problem]:
    limit = limits(settings)
    judge: Callable[[str, Limits], object] = plan.reader
    if not whole:  # of a DICOM, the plan has read the header already
        judge = (lambda *_: None) if plan.is_dicom else read_header

    def problem(row: tuple[int, str, str]) -> Problem | None:
        line, image, path = row
        try:
            judge(path, limit)
        except BadImage as bad:
            return Problem(bad.reason.value, image, line, bad.detail)
        return None

    rows = list(plan.rows[["row", "image_id", "path"]].itertuples(index=False, name=None))
    problems = []
    with ThreadPoolExecutor(_THREADS) as threads:
        for done, found in enumerate(threads.map(problem, rows), 1):
            if found:
                problems.append(found)
            report_progress(done, len(rows))
    return problems


def _patients(rows: "pd.DataFrame") -> dict[str, int]:
    counts = rows.groupby("split")["patient_id"].nunique().to_dict()
    return {split: int(counts.get(split, 0)) for split in SPLITS}


def _positives(rows: "pd.DataFrame", classes: Sequence[str]) -> dict[str, dict[str, int]]:
    if "unknown" in rows:  # an image with an unknown class isn't known to have no finding
        known = rows["findings"].map(bool) | ~rows["unknown"].map(bool).astype(bool)
        rows = rows[known.astype(bool)]
    findings = rows["findings"].map(lambda names: names or (NO_FINDING,))
    exploded = rows.assign(findings=findings).explode("findings")
    counts = exploded.groupby(["findings", "split"]).size().to_dict()
    return {
        name: {split: int(counts.get((name, split), 0)) for split in SPLITS}
        for name in (*classes, NO_FINDING)
    }


def _unknown(rows: "pd.DataFrame") -> dict[str, int]:
    if "unknown" not in rows:
        return {}
    return dict(Counter(name for names in rows["unknown"] for name in names).most_common())


def _broken_invariants(plan: Plan) -> list[str]:
    rows = plan.considered + plan.outside
    if plan.folder.table.name == "sample_labels.csv":
        return [] if rows == SAMPLE_ROWS else [_differs("rows", rows, SAMPLE_ROWS, "Kaggle sample")]
    if rows < _NEARLY_FULL:
        return []
    found = {"rows": rows}
    if not plan.problems and not plan.outside:
        found["patients"] = plan.rows["patient_id"].nunique()
        if plan.folder.test_list is not None:
            in_test = int((plan.rows["split"] == "test").sum())
            found |= {"train_val": len(plan.rows) - in_test, "test": in_test}
    return [
        _differs(what, n, FULL_SET[what], "full set")
        for what, n in found.items()
        if n != FULL_SET[what]
    ]


def _differs(what: str, found: int, published: int, of: str) -> str:
    return f"{found:,} {what.replace('_', '+')}, the {of} has {published:,}"


def render(report: CheckReport) -> "RenderableType":
    """The report for a terminal, as a Rich renderable."""
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    def row(table: Table, name: str, counts: Mapping[str, int], style: str = "") -> None:
        numbers = [f"{counts[split]:,}" for split in SPLITS]
        table.add_row(Text(name), *numbers, f"{sum(counts.values()):,}", style=style)

    what = "synthetic radiographs (phantoms)" if report.synthetic else "radiographs"
    depth = "every byte read" if report.whole else "headers read"
    parts: list[RenderableType] = [
        Text(
            f"{report.folder}: {report.rows:,} rows of {what} in {report.table}; "
            f"{report.split} split, {depth}"
        )
    ]
    counts = Table("good images", *SPLITS, "all", box=None, pad_edge=False, header_style="bold")
    for column in counts.columns[1:]:
        column.justify = "right"
    row(counts, "images", report.images)
    row(counts, "patients", report.patients)
    for name, positives in report.positives.items():
        row(counts, name, positives, style="dim" if name == NO_FINDING else "")
    parts.append(counts)
    parts.append(Text(f"{report.shared_patients} patients in more than one split"))
    if report.unknown:
        said = ", ".join(f"{name} {count:,}" for name, count in report.unknown.items())
        parts.append(Text(f"unknown labels, in no loss and no figure of their class: {said}"))
    if report.outside:
        parts.append(Text(f"{report.outside:,} rows outside the cohort"))
    if report.problems:
        bad = Table("set aside", "images", "for example", box=None, pad_edge=False)
        bad.columns[1].justify = "right"
        for reason, n in count_reasons(report.problems).items():
            first = min((p for p in report.problems if p.reason == reason), key=lambda p: p.row)
            bad.add_row(
                reason, f"{n:,}", Text(f"row {first.row}: {shown(first.image)}: {first.detail}")
            )
        parts.append(bad)
    if report.unlisted:
        example = shown(report.unlisted[0])
        parts.append(Text(f"{len(report.unlisted):,} image files no row names, e.g. {example}"))
    parts += [Text(f"not as published: {line}", "yellow") for line in report.broken_invariants]
    if report.stop:
        parts.append(Text(f"a run would stop: {report.stop}", "bold red"))
    else:
        parts.append(Text("a run would accept this folder", "bold green"))
    return Group(*parts)
