"""The data card on the lineage page."""

import json
from dataclasses import asdict
from datetime import datetime

from cxrflow.components.ingest.data_card import Archive, DataCard
from cxrflow.components.ingest.data_card import Table as LabelTable
from cxrflow.pipeline.reports.dashboard.blocks import Listing, Table, Text
from cxrflow.pipeline.reports.dashboard.data_card import data_card_section
from cxrflow.pipeline.reports.dashboard.lineage import Artifact, Execution, PipelineRun

CARD = DataCard(
    "Kaggle, nih-chest-xrays/sample",
    "https://example.org",
    '"1"',
    "2026-11-26",
    archives=(Archive("sample.zip", 4_300_000_000, "a" * 64, "b", 5_610, 5_606, "checksums"),),
    table=LabelTable("sample_labels.csv", "c" * 64, 5_606, 5_600, 4_230),
    missing=("a list",),
)


def run_with(**properties: str) -> PipelineRun:
    examples = Artifact(1, "Examples", "artifacts/1", properties)
    ingest = Execution(1, "ImageExampleGen", "ran", 1.0, {}, {}, {"examples": (examples,)})
    return PipelineRun(datetime(2026, 11, 26), (ingest,))


def test_a_card_is_shown_with_its_hashes() -> None:
    told = {"data_card": json.dumps(asdict(CARD)), "data_card_table": "unchanged"}
    facts, archives = data_card_section(run_with(**told)).blocks
    assert isinstance(facts, Listing) and isinstance(archives, Table)
    words = "\n".join(facts.items)
    assert "source: Kaggle, nih-chest-xrays/sample (https://example.org), unpacked on" in words
    assert f"5,606 rows, 5,600 images of 4,230 patients, SHA-256 {'c' * 64}" in words
    assert "not there: a list" in words and "another one" not in words
    assert [cell.text for cell in archives.rows[0]][:3] == ["sample.zip", "4,300,000,000", "5,606"]
    assert archives.rows[0][4].text == "a" * 64


def test_a_table_that_was_changed_since_is_said() -> None:
    told = {"data_card": json.dumps(asdict(CARD)), "data_card_table": "changed since"}
    (facts, _) = data_card_section(run_with(**told)).blocks
    assert isinstance(facts, Listing)
    assert facts.items[-1] == "the table that the run read is another one than on the card"


def test_no_card_is_said() -> None:
    for run in (run_with(), run_with(data_card="{"), PipelineRun(datetime(2026, 1, 1), ())):
        (note,) = data_card_section(run).blocks
        assert isinstance(note, Text)
        assert note.text.startswith("The data folder has no data card")
