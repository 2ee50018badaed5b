"""Tables of published figures: those that compare with the run's, and the rest."""

import math
from collections.abc import Mapping, Sequence

from cxrflow.components.evaluate.statistics.draws import Estimate
from cxrflow.pipeline.reports.dashboard.auc_table import Published
from cxrflow.pipeline.reports.dashboard.blocks import (
    Block,
    Cell,
    Listing,
    Missing,
    Section,
    Table,
    columns,
    finding,
    number,
)
from cxrflow.schema.portable.scores import mean_auc


def published_sections(
    found: Sequence[Published],
    own: Mapping[str, Estimate],
    few: Mapping[str, str],
) -> list[Section]:
    """Two sections.

    Args:
        found: published figures.
        own: this run's AUCs by class.
        few: by class, words in place of its AUC, or empty.
    """
    beside = [one for one in found if one.comparable]
    apart = [one for one in found if not one.comparable]
    why = "; ".join(dict.fromkeys(f"{one.split}: {one.reason}" for one in apart))
    nothing = Missing("Published figures that compare", f"None does. {why[:1].upper()}{why[1:]}.")
    first: Block = _table("The same split", beside, few, own) if beside else nothing
    blocks: list[Block] = []
    for split in dict.fromkeys(one.split for one in apart):
        blocks.append(_table(f"On the {split}", [o for o in apart if o.split == split], few))
    if apart:
        blocks.append(
            Listing(
                tuple(f"{one.name}: {one.work}. Not comparable: {one.reason}." for one in apart)
            )
        )
    compared = (
        first,
        *([Listing(tuple(f"{o.name}: {o.work}." for o in beside))] if beside else []),
    )
    return [
        Section("Published figures that compare", compared),
        Section("Published figures that don't compare", tuple(blocks)),
    ]


def _table(
    title: str,
    sources: Sequence[Published],
    few: Mapping[str, str],
    own: Mapping[str, Estimate] | None = None,
) -> Table:
    """AUC by class; this run's own column stands only where the two compare."""
    rows = []
    for name, why in few.items():
        mine = Cell(why, math.inf, "soft") if why else number(own[name].value) if own else None
        cells = [number(one.aucs[name]) for one in sources]
        rows.append((Cell(finding(name)), *([mine] if own and mine else []), *cells))
    shown = [name for name, why in few.items() if not why]
    means = [number(one.mean(shown)) for one in sources]
    mean = [number(mean_auc(own[name].value for name in shown))] if own else []
    return Table(
        title,
        columns("finding", *(["this run"] if own else []), *(one.name for one in sources)),
        tuple(rows),
        foot=((Cell("mean"), *mean, *means),),
        note="AUC. Means are over the findings of which this run has an AUC.",
    )
