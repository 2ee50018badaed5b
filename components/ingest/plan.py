"""What a run would read: folder, table, split and cohort put together, before images are opened."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TypedDict

import numpy as np

from cxrflow.components.ingest.folder import DataFolder, find_folder, require_folder
from cxrflow.components.ingest.image import ReadImage, read_dicom_image, read_image
from cxrflow.components.ingest.quarantine import Problem, Reason, too_much
from cxrflow.components.ingest.source.read import read_source
from cxrflow.components.ingest.source.settings import DataConfig
from cxrflow.components.ingest.source.splits import split_source
from cxrflow.components.ingest.split import assign_splits
from cxrflow.components.ingest.table import read_table
from cxrflow.schema.errors import CxrflowError
from cxrflow.schema.features import SPLITS
from cxrflow.schema.portable.image_rules import Limits

if TYPE_CHECKING:
    import pandas as pd


class Settings(TypedDict):
    """The fields of pipeline.settings.IngestConfig, as JSON carries them."""

    classes: Sequence[str]
    cohort: Literal["all", "findings"]
    split: Literal["auto", "official", "hash"]
    eval_share: float
    test_share: float
    split_salt: str
    max_bad_share: float
    min_side: int
    max_side: int
    max_bytes: int


@dataclass(frozen=True)
class Plan:
    """What to read.

    `rows` has the columns of `table.Table.rows` and split, path; `problems` are the rows already
    set aside; `outside` counts the rows that the cohort leaves out; `unlisted` are image files
    that no row names.
    """

    folder: DataFolder
    rows: "pd.DataFrame"
    problems: list[Problem]
    outside: int
    unlisted: list[str]
    source: DataConfig | None = None  # its description, where it isn't NIH's layout

    @property
    def is_dicom(self) -> bool:
        """Whether its images are DICOM files."""
        return self.source is not None and self.source.images.format == "dicom"

    @property
    def reader(self) -> ReadImage:
        """What reads and judges an image's file."""
        return read_dicom_image if self.is_dicom else read_image

    @property
    def considered(self) -> int:
        """Rows of the cohort, good and bad: what the share of bad ones refers to."""
        return len(self.rows) + len(self.problems)


def make_plan(data_dir: str, settings: Settings, source: DataConfig | None = None) -> Plan:
    """Reads table and lists of `data_dir` and assigns splits.

    Args:
        data_dir: the data folder.
        settings: of ingest.
        source: what describes the folder; None: Kaggle's layout of NIH's X-rays.

    Raises:
        CxrflowError: of `find_folder`, `read_table` and `assign_splits`, or of `read_source` and
            `split_source`.
    """
    if source is not None:
        return _plan_of(require_folder(data_dir), settings, source)
    folder = find_folder(data_dir)
    table = read_table(folder.table)
    rows, unlisted_rows = assign_splits(
        table.rows,
        folder.train_val_list,
        folder.test_list,
        split=settings["split"],
        eval_share=settings["eval_share"],
        test_share=settings["test_share"],
        split_salt=settings["split_salt"],
    )
    named = {*table.rows["image_id"], *(problem.image for problem in table.problems)}
    problems = table.problems + unlisted_rows
    rows, outside = _cohort(rows, settings)
    rows = rows.assign(path=rows["image_id"].map(folder.images).astype(object))
    missing, several = rows["path"].isna(), rows["image_id"].isin(folder.repeated)
    for unusable, reason, detail in (
        (missing, Reason.MISSING, "no file of this name in the image folders"),
        (several, Reason.SEVERAL_FILES, "several files of this name in the image folders"),
    ):
        found = rows.loc[unusable, ["image_id", "row"]].itertuples(index=False)
        problems += [Problem(reason.value, image, row, detail) for image, row in found]
    rows = rows[~(missing | several)]
    unlisted = sorted(folder.images.keys() - named)
    return Plan(folder, rows.reset_index(drop=True), problems, outside, unlisted)


def _plan_of(root: Path, settings: Settings, source: DataConfig) -> Plan:
    table = read_source(root, source)
    rows, problems = split_source(
        table.rows,
        root,
        source,
        split=settings["split"],
        eval_share=settings["eval_share"],
        test_share=settings["test_share"],
        split_salt=settings["split_salt"],
    )
    rows, outside = _cohort(rows, settings)
    folder = DataFolder(root, root / source.tables[0].file, None, None, {}, frozenset())
    rows = rows.drop(columns=["names", "said_split"]).reset_index(drop=True)
    return Plan(folder, rows, table.problems + problems, outside, table.unlisted, source)


def _cohort(rows: "pd.DataFrame", settings: Settings) -> tuple["pd.DataFrame", int]:
    """The rows of the cohort, and how many others there are."""
    if settings["cohort"] != "findings":
        return rows, 0
    classes = set(settings["classes"])
    inside = [not classes.isdisjoint(findings) for findings in rows["findings"]]
    return rows[np.array(inside, bool)], len(rows) - sum(inside)


def check_cheaply(data_dir: str, settings: Settings, source: DataConfig | None = None) -> None:
    """Refuses what ingest would refuse, as far as table, lists and file names tell.

    Needs no TensorFlow and opens no image: about two seconds for the full set.

    Raises:
        CxrflowError: of `make_plan`, or a run would stop for the rows that are set aside.
    """
    plan = make_plan(data_dir, settings, source)
    if stop := why_not_start(plan, settings):
        first = min(plan.problems, key=lambda problem: problem.row, default=None)
        example = f"; row {first.row}: {first.detail}" if first else ""
        raise CxrflowError(f"{data_dir}: {stop}{example}. `cxrflow data check` shows all")


def limits(settings: Settings) -> Limits:
    """The part of the settings that judges an image."""
    return Limits(settings["min_side"], settings["max_side"], settings["max_bytes"])


def good_rows(plan: Plan, problems: Sequence[Problem]) -> "pd.DataFrame":
    """The rows that stay when `problems`, found in the images, are set aside."""
    return plan.rows[~plan.rows["row"].isin([problem.row for problem in problems])]


def why_not_start(plan: Plan, settings: Settings) -> str | None:
    """`why_stop` before images are opened: rows alone may be reason enough."""
    planned = plan.rows["split"].value_counts().to_dict()
    return why_stop(plan, plan.problems, planned, settings)


def why_stop(
    plan: Plan, problems: Sequence[Problem], images: Mapping[str, int], settings: Settings
) -> str | None:
    """Why the run cannot go on with this data and what to do, or None when it can.

    Args:
        plan: what was to be read.
        problems: all of them, of rows and of images.
        images: good images per split.
        settings: of the run.
    """
    if excess := too_much(problems, plan.considered, settings["max_bad_share"]):
        return f"{excess}. Repair them, remove their rows, or raise ingest.max_bad_share"
    if not plan.considered:
        return "no image has one of ingest.classes, all that ingest.cohort=findings lets in"
    empty = [split for split in SPLITS if not images.get(split)]
    if empty:
        return (
            f"no image for {' and '.join(empty)} ({plan.rows['patient_id'].nunique():,} patients). "
            "More patients are needed, other official lists, or with a split by hash other "
            "ingest.eval_share, ingest.test_share or ingest.split_salt"
        )
    return _one_sided(good_rows(plan, problems), settings) if plan.source else None


def _one_sided(rows: "pd.DataFrame", settings: Settings) -> str | None:
    """Which class of a described source can't be learned, in words."""
    train = rows[rows["split"] == "train"]
    positive = Counter(name for names in train["findings"] for name in names)
    unknown = Counter(name for names in train["unknown"] for name in names)
    of_kind = {
        "positive": [name for name in settings["classes"] if not positive[name]],
        "negative": [
            name for name in settings["classes"] if positive[name] + unknown[name] == len(train)
        ],
    }
    for kind, missing in of_kind.items():
        if missing:
            return (
                f"no image of train is {kind} for {', '.join(missing)}: leave such a class out of "
                "ingest.classes, correct data.labels, or try another ingest.split_salt"
            )
    return None
