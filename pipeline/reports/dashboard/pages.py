"""Writes a run's dashboard: static pages that open from disk, without a network."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from cxrflow.pipeline.reports.dashboard.adjudicated_page import adjudicated_sections
from cxrflow.pipeline.reports.dashboard.blocks import Section
from cxrflow.pipeline.reports.dashboard.classes_page import class_sections
from cxrflow.pipeline.reports.dashboard.curves_page import calibration_sections, curve_sections
from cxrflow.pipeline.reports.dashboard.data_page import data_sections
from cxrflow.pipeline.reports.dashboard.evidence import Evidence, gather
from cxrflow.pipeline.reports.dashboard.frame import whole_pages, write_pages
from cxrflow.pipeline.reports.dashboard.gate_history import history_sections
from cxrflow.pipeline.reports.dashboard.images_page import FOLDER, image_pages
from cxrflow.pipeline.reports.dashboard.lineage_page import lineage_sections
from cxrflow.pipeline.reports.dashboard.models_page import model_sections
from cxrflow.pipeline.reports.dashboard.operating_page import operating_sections
from cxrflow.pipeline.reports.dashboard.overview_page import overview_sections
from cxrflow.pipeline.reports.dashboard.run_folder import Page, RunFolder
from cxrflow.pipeline.reports.dashboard.subgroups_page import subgroup_sections
from cxrflow.pipeline.reports.dashboard.tfma_pages import copy_scripts, tfma_pages
from cxrflow.schema.progress import report as report_progress
from cxrflow.schema.text import visible

Maker = Callable[[Evidence], list[Section]]


@dataclass(frozen=True)
class _Own:
    """One of our own pages."""

    group: str  # of the menu
    file: str
    title: str
    about: str  # what it answers
    make: Maker


def _lineage(found: Evidence) -> list[Section]:
    return lineage_sections(found.run, found.runs, found.lacking("lineage", ""), found.info)


def _data(found: Evidence) -> list[Section]:
    return data_sections(found.run)


def _own_pages(gallery: list[Section], mistakes: list[Section]) -> tuple[_Own, ...]:
    """In the menu's order; those of X-rays are made together, beforehand."""
    verdict, model, xrays, run = "Verdict", "The model", "X-rays", "The data and the run"
    return (
        _Own(verdict, "index.html", "Overview", "", overview_sections),
        _Own(
            *(verdict, "classes.html", "By finding"),
            "How well each finding is told, and how sure that is.",
            class_sections,
        ),
        _Own(
            *(verdict, "models.html", "Models compared"),
            "The model beside its members, other ways to combine them, and baselines.",
            model_sections,
        ),
        _Own(
            *(verdict, "history.html", "Gate history"),
            "What the gate said of each run in this folder.",
            history_sections,
        ),
        _Own(model, "curves.html", "ROC and precision", "", curve_sections),
        _Own(
            *(model, "calibration.html", "Calibration"),
            "Does a probability mean what it says?",
            calibration_sections,
        ),
        _Own(
            *(model, "operating.html", "Operating points"),
            "What would be found, missed and falsely reported at each threshold.",
            operating_sections,
        ),
        _Own(
            *(model, "subgroups.html", "Subgroups"),
            "Does it serve everybody alike?",
            subgroup_sections,
        ),
        _Own(
            *(model, "adjudicated.html", "Adjudicated labels"),
            "How far are the labels right, and the model by better ones?",
            adjudicated_sections,
        ),
        _Own(
            *(xrays, "attention.html", "Attention"),
            "Where the model looks when it is sure and right.",
            lambda found: gallery,
        ),
        _Own(
            *(xrays, "mistakes.html", "Mistakes"),
            "Where it is sure and wrong: one false alarm and one miss of each finding.",
            lambda found: mistakes,
        ),
        _Own(run, "data.html", "Data", "", _data),
        _Own(
            *(run, "lineage.html", "Lineage"),
            "What ran on what, for how long, from which data, code and settings.",
            _lineage,
        ),
    )


def write_dashboard(run: RunFolder, to: Path) -> list[Path]:
    """Writes the pages of a finished run and returns their paths, index.html first.

    Needs no network when written or when opened. What the run lacks is said in words in the place
    where it would be.

    Args:
        run: the run.
        to: folder, made if missing; pages of an earlier call are replaced, all or none.

    Raises:
        CxrflowError: the folder can't be written.
    """
    found = gather(run)
    gallery, mistakes, pictures = image_pages(found)
    pages: list[Page] = []
    own = _own_pages(gallery, mistakes)
    for done, one in enumerate(own, 1):
        content = {"sections": one.make(found), "about": one.about}
        pages.append(Page(one.file, one.title, "report.html", content, one.group))
        report_progress(done, len(own), "pages")
    pages += tfma_pages(found)

    with whole_pages(to) as aside:
        copy_scripts(aside)
        write_pages(pages, f"run {visible(run.root.name)}", run.synthetic, aside)
        (aside / FOLDER).mkdir()
        for name, data in pictures.items():
            (aside / name).write_bytes(data)
    return [to / page.file for page in pages]
