"""What a page of the report is made of; templates/blocks.html draws it."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

from markupsafe import Markup

from cxrflow.components.evaluate.statistics.draws import Estimate


@dataclass(frozen=True)
class Text:
    """A paragraph."""

    text: str
    kind: str = "text"  # or note, warn: said softly, or loudly


@dataclass(frozen=True)
class Missing:
    """Words in the place where a figure would be."""

    what: str  # the figure's title
    why: str
    kind: str = "missing"


@dataclass(frozen=True)
class Cell:
    """A table's cell."""

    text: str
    sort: float | str | None = None  # what it is sorted by; None: its text
    mark: str = ""  # good, bad, soft or chosen
    href: str = ""
    shade: float = 0.0  # 0..1: how strongly the cell is coloured
    span: int = 1


@dataclass(frozen=True)
class Column:
    """A table's column."""

    name: str
    about: str = ""  # said by its tooltip
    words: bool = False  # aligned to the left


@dataclass(frozen=True)
class Table:
    """A table that sorts by each of its columns; the first one names the row."""

    title: str
    columns: tuple[Column, ...]
    rows: tuple[tuple[Cell, ...], ...]
    foot: tuple[tuple[Cell, ...], ...] = ()
    note: str = ""
    groups: tuple[tuple[str, int], ...] = ()  # headings over columns: text and columns
    sorts: bool = True
    narrow: bool = False  # headings stand upright
    kind: str = "table"


@dataclass(frozen=True)
class Chart:
    """A chart, and what it shows in words."""

    title: str
    svg: Markup
    note: str = ""
    kind: str = "chart"


@dataclass(frozen=True)
class Grid:
    """Charts (or words in their place) side by side."""

    items: tuple["Chart | Missing", ...]
    wide: bool = False
    kind: str = "grid"


@dataclass(frozen=True)
class Fact:
    """A figure that stands out."""

    name: str
    value: str
    note: str = ""
    mark: str = ""


@dataclass(frozen=True)
class Facts:
    """Figures that stand out, side by side."""

    items: tuple[Fact, ...]
    kind: str = "facts"


@dataclass(frozen=True)
class Listing:
    """Points, one below the other."""

    items: tuple[str, ...]
    title: str = ""
    kind: str = "listing"


@dataclass(frozen=True)
class Verdict:
    """The answer to the first question: may this model be pushed?"""

    good: bool | None  # None: nobody judged
    answer: str
    reasons: tuple[str, ...]
    kind: str = "verdict"


@dataclass(frozen=True)
class Picture:
    """An image file beside the pages."""

    file: str
    words: str  # its alternative text
    caption: str = ""


@dataclass(frozen=True)
class Case:
    """One X-ray and what is to be said of it."""

    title: str
    pictures: tuple[Picture, ...]
    lines: tuple[str, ...]
    others: tuple[Picture, ...] = ()  # the same patient's
    kind: str = "case"


@dataclass(frozen=True)
class Cases:
    """X-rays side by side."""

    items: tuple[Case, ...]
    kind: str = "cases"


Block = Text | Missing | Table | Chart | Grid | Facts | Listing | Verdict | Cases


@dataclass(frozen=True)
class Section:
    """Blocks under one heading."""

    title: str
    blocks: tuple[Block, ...] = field(default_factory=tuple)


def number(value: float, digits: int = 3) -> Cell:
    """A figure with so many digits, or a dash; it sorts by its value."""
    if not math.isfinite(value):
        return Cell("–", math.inf, "soft")
    return Cell(f"{value:.{digits}f}", value)


def whole(value: float) -> Cell:
    """A count."""
    return Cell(f"{value:,.0f}", value)


def signed(value: float) -> Cell:
    """A difference with its sign, or a dash."""
    return Cell(f"{value:+.3f}", value) if math.isfinite(value) else number(value)


def interval(one: Estimate, sign: str = "", digits: int = 3) -> str:
    """ "0.612 to 0.734", or a dash; `sign`: "+" for differences."""
    if not math.isfinite(one.low):
        return "–"
    return f"{one.low:{sign}.{digits}f} to {one.high:{sign}.{digits}f}"


def interval_cell(one: Estimate, sign: str = "", digits: int = 3) -> Cell:
    """An interval; it sorts by its lower end."""
    low = one.low if math.isfinite(one.low) else math.inf
    return Cell(interval(one, sign, digits), low, "soft")


def finding(name: str) -> str:
    """A class as people write it."""
    return name.replace("_", " ")


def columns(*names: str, words: Sequence[str] = ()) -> tuple[Column, ...]:
    """Columns of these names; those of words are aligned to the left."""
    return tuple(Column(name, words=name in words) for name in names)
