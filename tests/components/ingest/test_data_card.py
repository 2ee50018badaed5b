"""The data card: what is read back, what isn't taken for one, what ML Metadata keeps."""

import json
from dataclasses import asdict

import pytest

from cxrflow.components.ingest.data_card import (
    FILE,
    Archive,
    DataCard,
    Table,
    card_for_lineage,
    hash_of,
    parse_card,
    read_card,
)

ARCHIVE = Archive("images_001.tar.gz", 10, "a" * 64, "b" * 32, 3, 2, "NIH's MD5")
CARD = DataCard("NIH", "https://example.org", "", "2026-11-26", archives=(ARCHIVE,))


def test_what_is_written_is_read_back(tmp_path):
    card = DataCard(**{**asdict(CARD), "archives": (ARCHIVE,), "missing": ("images_002.tar.gz",)})
    card.write(tmp_path)
    assert read_card(tmp_path) == card


def test_an_archive_takes_the_place_of_an_older_one():
    newer = Archive("images_001.tar.gz", 11, "c" * 64, "d" * 32, 3, 2, "NIH's MD5")
    other = Archive("images_000.tar.gz", 1, "", "", 1, 1, "")
    assert CARD.with_archive(newer).with_archive(other).archives == (other, newer)


@pytest.mark.parametrize(
    "text",
    [
        *("", "{", "[]", "null", "3", "{}", '{"table": null, "archives": 3}'),
        json.dumps({**asdict(CARD), "more": 1}),
        json.dumps({**asdict(CARD), "archives": [{}]}),
    ],
)
def test_something_else_is_no_card(tmp_path, text):
    assert parse_card(text) is None
    (tmp_path / FILE).write_text(text)
    assert card_for_lineage(tmp_path, tmp_path / "gone.csv") == {}


def test_lineage_tells_whether_the_table_is_the_cards(tmp_path):
    table = tmp_path / "t.csv"
    table.write_text("1")
    assert card_for_lineage(tmp_path, table) == {}, "no card"
    DataCard(
        **{**asdict(CARD), "archives": (ARCHIVE,), "table": Table("t.csv", hash_of(table), 1, 1, 1)}
    ).write(tmp_path)
    told = card_for_lineage(tmp_path, table)
    assert told["data_card_table"] == "unchanged"
    assert parse_card(told["data_card"]) == read_card(tmp_path)
    table.write_text("2")
    assert card_for_lineage(tmp_path, table)["data_card_table"] == "changed since"
