"""Two versions' answers compared, in lines and as a page in the report's frame."""

import math
from collections.abc import Iterator
from pathlib import Path

from cxrflow.pipeline.reports.dashboard.blocks import (
    Block,
    Cell,
    Fact,
    Facts,
    Section,
    Table,
    Text,
    columns,
    finding,
    number,
    signed,
    whole,
)
from cxrflow.pipeline.reports.dashboard.frame import write_page_alone
from cxrflow.pipeline.reports.dashboard.run_folder import Page
from cxrflow.pipeline.reports.monitor.shadow import Compared, OfClass
from cxrflow.schema.text import visible


def lines(found: Compared) -> Iterator[str]:
    """For a terminal."""
    yield (
        f"{visible(found.model)}: {found.second} asked beside {found.first}, {found.images:,} "
        f"images from {found.begin} to {found.end}; decisions at {found.point}"
    )
    for name, count in found.others.items():
        yield f"not among them: {count:,} of {visible(name)}"
    width = max(len(one.name) for one in found.classes) if found.classes else 0
    for one in found.classes:
        yield f"  {visible(one.name):{width}}  {_class_words(one)}"
    if found.flagged:
        yield (
            f"of {found.flagged:,} images, {found.flags_changed:,} may be no chest X-ray for one "
            "version alone"
        )
    changed = found.share_changed
    yield (
        f"another decision on {found.images_changed:,} of {found.images:,} images, "
        f"{changed.value:.1%} ({changed.low:.1%} to {changed.high:.1%})"
    )


def _class_words(one: OfClass) -> str:
    low, middle, high = one.quantiles
    decided = (
        f"{one.changed:,} of {one.decided:,} decisions differ ({one.added:,} more, "
        f"{one.removed:,} fewer)"
        if one.decided
        else "no operating point"
    )
    differences = f"difference {middle:+.3f} ({low:+.3f} to {high:+.3f}), at most {one.largest:.3f}"
    return f"{differences}; {decided}"


def write_page(found: Compared, to: Path) -> Path:
    """Writes `shadow.html`, styles and scripts into a folder; returns the page.

    Raises:
        CxrflowError: the folder can't be written.
    """
    changed = found.share_changed
    facts = (
        Fact("images", f"{found.images:,}", f"{_minute(found.begin)} to {_minute(found.end)}, UTC"),
        Fact(
            "images with another decision",
            f"{changed.value:.1%}",
            f"{found.images_changed:,} images; {changed.low:.1%} to {changed.high:.1%}, if each is "
            "another patient's",
        ),
        Fact(
            "median of the second's answers", f"{found.seconds * 1000:.0f} ms", "in the background"
        ),
    )
    blocks: list[Block] = [Facts(facts), _table(found)]
    if found.flagged:
        blocks.append(
            Text(
                f"Of {found.flagged:,} images, {found.flags_changed:,} may be no chest X-ray for "
                "one version alone.",
                "note",
            )
        )
    for name, count in found.others.items():
        blocks.append(Text(f"Not among them: {count:,} pairs of {visible(name)}.", "note"))
    content = {
        "sections": [Section("", tuple(blocks))],
        "about": f"Version {found.second} was asked what version {found.first} answered. What "
        "would have been different?",
    }
    page = Page("shadow.html", "Two versions", "report.html", content, "Monitoring")
    subject = f"{visible(found.model)} {found.first} and {found.second}"
    return write_page_alone(page, subject, found.synthetic, to)


def _minute(time: str) -> str:
    """Day and minute of an ISO time."""
    return time[:16].replace("T", " ")


def _table(found: Compared) -> Table:
    names = ("finding", "5 %", "median", "95 %", "largest", "rank correlation", "decisions")
    return Table(
        "The second version's probabilities less the first's",
        columns(*names, "differ", "more", "fewer"),
        tuple(
            (
                Cell(finding(one.name)),
                *map(signed, one.quantiles),
                number(one.largest),
                number(one.correlation, 2),
                whole(one.decided),
                Cell(
                    f"{one.changed / one.decided:.1%}" if one.decided else "–",
                    one.changed / one.decided if one.decided else math.inf,
                ),
                whole(one.added),
                whole(one.removed),
            )
            for one in found.classes
        ),
        groups=(("", 1), ("difference", 4), ("", 1), (f"decisions at {found.point}", 4)),
        note="More: the second version says yes where the first says no. Rank correlation: "
        "Spearman's; 1 is the same order of images.",
    )
