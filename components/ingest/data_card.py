"""The data card: what a data folder was made of, with hashes, as a file beside the data."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from cxrflow.schema.files import write_whole

FILE = "data_card.json"
LICENCE = (
    "NIH Clinical Center: no restriction on use; link https://nihcc.app.box.com/v/ChestXray-NIHCC "
    "and cite Wang et al., CVPR 2017"
)
_MOST_BYTES = 2**16  # of the file; a card has 4 KB


@dataclass(frozen=True)
class Archive:
    """An archive that was unpacked."""

    name: str
    bytes: int
    sha256: str
    md5: str
    files: int
    images: int
    verified: str  # by what


@dataclass(frozen=True)
class Table:
    """The table, as it was then."""

    name: str
    sha256: str
    rows: int
    images: int  # that a run takes
    patients: int


@dataclass(frozen=True)
class DataCard:
    """Where the data came from."""

    source: str
    url: str
    version: str  # as the source tells them apart
    date: str  # on which it was unpacked, UTC
    licence: str = LICENCE
    archives: tuple[Archive, ...] = ()
    table: Table | None = None
    missing: tuple[str, ...] = field(default=())  # what the source has beside that

    @classmethod
    def today(cls, source: str, url: str, version: str = "") -> "DataCard":
        """A card of this day without anything on it."""
        return cls(source, url, version, f"{datetime.now(timezone.utc):%Y-%m-%d}")

    def with_archive(self, archive: Archive) -> "DataCard":
        """Returns the card with an archive more, or a newer one of that name."""
        others = [one for one in self.archives if one.name != archive.name]
        found = sorted([*others, archive], key=lambda one: one.name)
        return replace(self, archives=tuple(found))

    def with_table(self, table: Table, missing: Sequence[str] = ()) -> "DataCard":
        """Returns the card with a table, and what of the source isn't there."""
        return replace(self, table=table, missing=tuple(missing))

    def write(self, folder: Path) -> None:
        """Writes the card into the data folder, whole or not at all."""
        write_whole(folder / FILE, json.dumps(asdict(self), indent=1) + "\n", sync=True)


def read_card(folder: Path) -> DataCard | None:
    """The card of a data folder; None if there is none that can be read."""
    try:
        with (folder / FILE).open(encoding="utf-8") as file:
            return parse_card(file.read(_MOST_BYTES))
    except (OSError, UnicodeDecodeError):
        return None


def parse_card(text: str) -> DataCard | None:
    """A card from its JSON; None if it is something else."""
    try:
        told: dict[str, Any] = json.loads(text)
        table = told.pop("table")
        return DataCard(
            **{
                **told,
                "archives": tuple(Archive(**one) for one in told["archives"]),
                "missing": tuple(told["missing"]),
                "table": Table(**table) if table else None,
            }
        )
    except (ValueError, TypeError, KeyError, AttributeError):
        return None


def card_for_lineage(folder: Path, table: Path) -> dict[str, str]:
    """What ML Metadata keeps of a data folder's card; empty without one."""
    card = read_card(folder)
    if not card:
        return {}
    same = card.table is not None and card.table.sha256 == hash_of(table)
    return {
        "data_card": json.dumps(asdict(card)),
        "data_card_table": "unchanged" if same else "changed since",
    }


def hash_of(path: Path) -> str:
    """A table's SHA-256, hexadecimal."""
    return hashlib.sha256(path.read_bytes()).hexdigest()
