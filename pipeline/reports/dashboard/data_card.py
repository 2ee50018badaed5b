"""The data card on the lineage page: what the data of a run were made of."""

from cxrflow.components.ingest.data_card import DataCard, parse_card
from cxrflow.pipeline.reports.dashboard.blocks import (
    Cell,
    Listing,
    Section,
    Table,
    Text,
    columns,
    whole,
)
from cxrflow.pipeline.reports.dashboard.lineage import PipelineRun

_TITLE = "Data card"


def data_card_section(run: PipelineRun) -> Section:
    """From what ML Metadata keeps with the examples that ImageExampleGen wrote."""
    ingest = run.of("ImageExampleGen")
    examples = ingest.outputs.get("examples", ()) if ingest else ()
    told = examples[0].properties if examples else {}
    card = parse_card(told.get("data_card", ""))
    if not card:
        none = "The data folder has no data card: `cxrflow data download` writes one."
        return Section("Data", (Text(none, "note"),))
    changed = told.get("data_card_table") != "unchanged"
    return Section("Data", (Listing(_facts(card, changed), _TITLE), _archives(card)))


def _facts(card: DataCard, changed: bool) -> tuple[str, ...]:
    table = card.table
    lines = [f"source: {card.source} ({card.url}), unpacked on {card.date}"]
    if card.version:
        lines.append(f"version: {card.version}")
    lines.append(f"licence: {card.licence}")
    if table:
        lines.append(
            f"table: {table.name}, {table.rows:,} rows, {table.images:,} images of "
            f"{table.patients:,} patients, SHA-256 {table.sha256}"
        )
    if card.missing:
        lines.append(f"not there: {', '.join(card.missing)}")
    if changed:
        lines.append("the table that the run read is another one than on the card")
    return tuple(lines)


def _archives(card: DataCard) -> Table:
    rows = tuple(
        (
            Cell(one.name),
            whole(one.bytes),
            whole(one.images),
            Cell(one.verified, mark="words"),
            Cell(one.sha256, mark="words soft"),
        )
        for one in card.archives
    )
    return Table(
        "Archives",
        columns(
            "archive", "bytes", "images", "verified by", "SHA-256", words=("verified by", "SHA-256")
        ),
        rows,
    )
