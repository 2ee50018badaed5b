"""The page on adjudicated labels: what a panel of radiologists says, beside NIH's labels."""

import csv
import io
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from sklearn.metrics import cohen_kappa_score

from cxrflow.components.evaluate.results import too_few
from cxrflow.components.evaluate.statistics.auc import drawn_auc
from cxrflow.components.evaluate.statistics.draws import Draws, Estimate, estimate
from cxrflow.components.score.files import Scores
from cxrflow.pipeline.reports.dashboard.blocks import (
    Cell,
    Chart,
    Missing,
    Section,
    Table,
    Text,
    columns,
    number,
    whole,
)
from cxrflow.pipeline.reports.dashboard.charts import Row, forest
from cxrflow.pipeline.reports.dashboard.evidence import NO_SCORES, Evidence
from cxrflow.pipeline.reports.dashboard.predictions import DRAWS
from cxrflow.schema.errors import CxrflowError
from cxrflow.schema.portable.label_table import BadTable, read_text, same_name

PATTERN = "google2019_nih-chest-xray-labels.csv*"
# By the panel's finding (Majkowska et al., Radiology 294, 2020), the NIH classes under it.
FINDINGS: Mapping[str, tuple[str, ...]] = {
    "Pneumothorax": ("Pneumothorax",),
    "Nodule or mass": ("Mass", "Nodule"),
    "Airspace opacity": ("Atelectasis", "Consolidation", "Edema", "Infiltration", "Pneumonia"),
}
_TITLE = "Agreement with adjudicated labels"


@dataclass(frozen=True)
class Agreement:
    """One finding on the images that both lists have."""

    name: str
    positives: int  # by the panel
    labelled: int  # by NIH
    kappa: float  # of NIH's labels with the panel's
    against_panel: Estimate  # AUC of the model
    against_nih: Estimate  # on the same images
    few: str = ""


def find_list(data_dir: Path) -> Path | None:
    """The adjudicated labels in the data folder, beside it, or in `labels/` beside it."""
    for folder in (data_dir, data_dir.parent, data_dir.parent / "labels"):
        if found := sorted(folder.glob(PATTERN)):
            return found[0]
    return None


def read_list(path: Path) -> dict[str, dict[str, bool]]:
    """By image, what the panel says of each of FINDINGS.

    Raises:
        CxrflowError: the file can't be read or has another layout.
    """
    try:
        rows = list(
            csv.DictReader(io.StringIO(read_text(str(path), "a list of labels", unpack=True)))
        )
        return {
            same_name(row["Image Index"]): {name: row[name].strip() == "YES" for name in FINDINGS}
            for row in rows
        }
    except BadTable as error:
        raise CxrflowError(str(error)) from None
    except (KeyError, AttributeError, csv.Error) as error:
        raise CxrflowError(
            f"{path} has no column {error}: it is no list of adjudicated labels"
        ) from None


def adjudicated_sections(found: Evidence) -> list[Section]:
    """The page's sections, or words."""
    read = found.scored("test")
    if read is None or not len(read.images):
        return [Section("", (Missing(_TITLE, found.lacking("scores", NO_SCORES)),))]
    if found.run.synthetic:
        return [
            Section(
                "",
                (
                    Missing(
                        _TITLE,
                        "Synthetic X-rays have none: their labels are right by construction.",
                    ),
                ),
            )
        ]
    path = find_list(found.run.data_dir)
    if path is None:
        why = (
            f"No {PATTERN.rstrip('*')} lies in the data folder or beside it. Google published it "
            "for NIH's images: put it there to have this page."
        )
        return [Section("", (Missing(_TITLE, why),))]
    try:
        panel = read_list(path)
    except CxrflowError as error:
        return [Section("", (Missing(_TITLE, str(error)),))]
    names = [same_name(str(name)) for name in read.images.image_id]
    rows = np.array([i for i, name in enumerate(names) if name in panel], int)
    if not len(rows):
        return [
            Section(
                "", (Missing(_TITLE, f"None of the {len(names):,} test images is on the list."),)
            )
        ]
    truth = {name: np.array([panel[names[i]][name] for i in rows]) for name in FINDINGS}
    agreed = [
        a for a in (agreement(found, read.rows(rows), name, truth[name]) for name in FINDINGS) if a
    ]
    return [_section(len(rows), len(names), agreed)]


def agreement(found: Evidence, read: Scores, name: str, panel: np.ndarray) -> Agreement | None:
    """How NIH's labels and the model agree with the panel's bool [N]; None without such a class."""
    places = [found.classes.index(c) for c in FINDINGS[name] if c in found.classes]
    if not places:
        return None
    nih = np.asarray((read.images.labels[:, places] > 0).any(axis=1))
    # Any of the classes: as likely as the likeliest of them, at least.
    score = read.probabilities[:, places].max(axis=1)
    draws = Draws.of(read.images.patient_id, DRAWS)
    positives = int(panel.sum())
    few = too_few(positives, len(panel) - positives, found.run.min_shown)
    alike = len(set(panel.tolist()) | set(nih.tolist())) < 2  # kappa is 0 / 0 there
    return Agreement(
        name,
        positives,
        int(nih.sum()),
        float("nan") if alike else float(cohen_kappa_score(panel, nih)),
        Estimate() if few else estimate(drawn_auc(panel, score, draws)),
        Estimate() if few else estimate(drawn_auc(nih, score, draws)),
        few,
    )


def _section(covered: int, of: int, agreed: list[Agreement]) -> Section:
    rows = tuple(
        (
            Cell(one.name),
            Cell(", ".join(FINDINGS[one.name]).replace("_", " "), mark="words"),
            whole(one.positives),
            whole(one.labelled),
            number(one.kappa, 2),
            *(
                (Cell(one.few, float("inf"), "soft words", span=2),)
                if one.few
                else (_estimate(one.against_panel), _estimate(one.against_nih))
            ),
        )
        for one in agreed
    )
    shown = [
        row
        for one in agreed
        if not one.few
        for row in (
            Row(
                f"{one.name}: panel",
                one.against_panel.value,
                one.against_panel.low,
                one.against_panel.high,
            ),
            Row(
                f"{one.name}: NIH",
                one.against_nih.value,
                one.against_nih.low,
                one.against_nih.high,
                "soft",
            ),
        )
    ]
    words = "AUC against the panel and NIH's labels: " + ", ".join(
        f"{r.name} {r.value:.3f}" for r in shown
    )
    names = ("finding", "NIH classes", "panel: positive", "NIH: positive", "κ of NIH's labels")
    table = Table(
        "NIH's labels and the model against the panel",
        columns(*names, "AUC against panel", "AUC against NIH", words=("NIH classes",)),
        rows,
        note="κ: agreement beyond chance, 1 is full (Cohen 1960). The model's score is the highest "
        "of the classes'.",
    )
    chart = (
        (Chart("AUC on the same images", forest(shown, "AUC", words + ".", line=0.5)),)
        if shown
        else ()
    )
    return Section(
        "",
        (
            Text(
                f"Radiologists read {covered:,} of the {of:,} test images again and settled their "
                "differences (Majkowska et al., 2020). NIH's labels were taken from reports by a "
                "program; this says how far they, and the model, are right."
            ),
            *chart,
            table,
        ),
    )


def _estimate(one: Estimate) -> Cell:
    return Cell(f"{one.value:.3f} ({one.low:.2f} to {one.high:.2f})", one.value)
