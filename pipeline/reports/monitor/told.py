"""What a log shows of a model, in lines and as a page in the report's frame."""

import math
from collections.abc import Iterator
from pathlib import Path

from cxrflow.components.monitor.drift import Finding
from cxrflow.pipeline.reports.dashboard.blocks import (
    Block,
    Cell,
    Fact,
    Facts,
    Section,
    Table,
    Text,
    Verdict,
    columns,
    number,
    whole,
)
from cxrflow.pipeline.reports.dashboard.frame import write_page_alone
from cxrflow.pipeline.reports.dashboard.run_folder import Page
from cxrflow.pipeline.reports.monitor.asked import Monitored, Week
from cxrflow.schema.text import visible

_MARKS = {"drift": "bad", "none": "good", "not judged": "soft"}
_SYNTHETIC = "the model was trained on synthetic X-rays: real ones must differ from them"


def answer(found: Monitored) -> str:
    """The last sentence: whether the newest week that can be judged drifts."""
    week = found.judged
    if week is None:
        return "not judged: no week has enough answers"
    if week.status == "drift":
        return f"drift: in {week.name} what was asked isn't as what the model was trained on"
    return f"no drift in {week.name}, the newest week that can be judged"


def lines(found: Monitored) -> Iterator[str]:
    """For a terminal, the answer last."""
    yield (
        f"{visible(found.model)} {found.version}: {found.answers:,} answers in "
        f"{len(found.weeks)} week{'' if len(found.weeks) == 1 else 's'}, against "
        f"{found.train_images:,} training images and scores of {found.held_out_images:,} held-out "
        "ones"
    )
    for reason, count in found.unasked.items():
        yield f"not among them: {count:,} decisions without the model ({visible(reason)})"
    for name, count in found.others.items():
        yield f"not among them: {count:,} answers of {visible(name)}"
    for week in found.weeks:
        yield f"{week.name}, {week.answers:,} answers: {week_words(week)}"
        for one in week.findings:
            if one.status == "drift":
                yield f"  {one.title}: {one.words}"
    if found.info.synthetic:
        yield _SYNTHETIC
    yield answer(found)


def week_words(week: Week) -> str:
    """What became of a week, in short."""
    of_status: dict[str, list[Finding]] = {"drift": [], "none": [], "not judged": []}
    for one in week.findings:
        of_status[one.status].append(one)
    if week.status == "not judged":
        return f"not judged: {week.findings[0].words}" if week.findings else "nothing to judge by"
    judged = len(of_status["drift"]) + len(of_status["none"])
    left = f", {len(of_status['not judged'])} not judged" if of_status["not judged"] else ""
    return f"{len(of_status['drift'])} of {judged} features drift{left}"


def write_page(found: Monitored, to: Path) -> Path:
    """Writes `monitor.html`, styles and scripts into a folder; returns the page.

    Raises:
        CxrflowError: the folder can't be written.
    """
    content = {
        "sections": [_overview(found), *map(_week, reversed(found.weeks))],
        "about": "Is the world still the one that the model was trained on?",
    }
    page = Page("monitor.html", "What was asked", "report.html", content, "Monitoring")
    subject = f"{visible(found.model)} {found.version}"
    return write_page_alone(page, subject, found.info.synthetic, to)


def _overview(found: Monitored) -> Section:
    week, said = found.judged, answer(found)
    reasons = [
        f"{f.title}: {f.words}" for f in (week.findings if week else ()) if f.status == "drift"
    ]
    good = None if week is None else not found.drifts
    blocks: list[Block] = [
        Verdict(good, f"{said[0].upper()}{said[1:]}.", tuple(reasons)),
        Facts(
            (
                Fact("answers", f"{found.answers:,}", f"in {len(found.weeks)} weeks"),
                Fact("training images", f"{found.train_images:,}"),
                Fact("held-out images", f"{found.held_out_images:,}", "whose scores are usual"),
            )
        ),
        _by_week(found),
    ]
    for title, counts in (("Without the model", found.unasked), ("Of other models", found.others)):
        if counts:
            listed = ", ".join(f"{visible(name)} {n:,}" for name, n in counts.items())
            blocks.append(Text(f"{title}, and not judged here: {listed}.", "note"))
    return Section("", tuple(blocks))


def _by_week(found: Monitored) -> Table:
    """Distances of all features, a row a week."""
    names = list(dict.fromkeys(one.title for week in found.weeks for one in week.findings))
    rows = []
    for week in found.weeks:
        by_name = {one.title: one for one in week.findings}
        cells = [_distance(by_name.get(name)) for name in names]
        status = Cell(week.status, mark=_MARKS[week.status])
        rows.append((Cell(week.name), whole(week.answers), status, *cells))
    return Table(
        "Distance from training, by week",
        columns("week", "answers", "finding", *names, words=("finding",)),
        tuple(rows),
        narrow=True,
        note="Numbers: Jensen-Shannon's divergence in bits; sex and view: the largest difference "
        "between shares; the last: share of the images. Red: above the limit, which allows for "
        "chance. –: too few answers to judge.",
    )


def _distance(one: Finding | None) -> Cell:
    if one is None or not math.isfinite(one.distance):
        return number(math.nan)
    return Cell(f"{one.distance:.3f}", one.distance, "bad" if one.status == "drift" else "")


def _week(week: Week) -> Section:
    rows = tuple(
        (
            Cell(one.title),
            Cell(one.status, mark=f"words {_MARKS[one.status]}"),
            whole(one.known),
            number(one.distance),
            number(one.limit),
            Cell(one.words, mark="words soft"),
        )
        for one in week.findings
    )
    return Section(
        f"{week.name}, from {week.first:%Y-%m-%d}",
        (
            Table(
                f"Features of {week.answers:,} answers",
                columns(
                    *("feature", "finding", "answers", "distance", "limit", "what differs"),
                    words=("finding", "what differs"),
                ),
                rows,
            ),
        ),
    )
