"""The first page, for somebody who decides: is the model good, on whom, compared with what, and may
it be pushed?
"""

import math
from collections.abc import Iterator

from cxrflow.components.evaluate.statistics.draws import Estimate
from cxrflow.components.floor.settings import PROBE
from cxrflow.pipeline.reports.dashboard.auc_table import published
from cxrflow.pipeline.reports.dashboard.blocks import (
    Block,
    Chart,
    Fact,
    Facts,
    Listing,
    Missing,
    Section,
    Text,
    Verdict,
    finding,
    interval,
)
from cxrflow.pipeline.reports.dashboard.charts import Row, forest
from cxrflow.pipeline.reports.dashboard.classes_page import class_estimates, few_words, on_whom
from cxrflow.pipeline.reports.dashboard.evidence import NO_EVALUATION, NO_SCORES, Evidence
from cxrflow.pipeline.reports.dashboard.models_page import TONES, kind_of, mean_estimates, said
from cxrflow.pipeline.reports.dashboard.run_folder import SPLITS


def overview_sections(found: Evidence) -> list[Section]:
    """The page's sections."""
    evaluation = found.evaluations.get(found.final)
    split = next((s for s in SPLITS if evaluation and evaluation.whole(s)), "")
    verdict = Section("", (_verdict(found),))
    if not split:
        why = found.lacking(f"evaluation of {found.final}", NO_EVALUATION)
        return [verdict, Section("How good is it?", (Missing("Figures", why),))]
    return [
        verdict,
        Section("Is it good, and on whom?", (_facts(found, split), _in_words(found, split))),
        Section("Compared with what?", _comparison(found, split)),
        Section("For which findings?", _classes(found, split)),
        Section("What the gate judged", _judged(found)),
        Section("Before you rely on it", (Listing(tuple(_cautions(found, split))),)),
    ]


def _verdict(found: Evidence) -> Verdict:
    verdict = found.verdict
    if verdict is None:
        why = found.lacking("verdict", "The gate hasn't judged this run's model.")
        return Verdict(None, "Nobody has judged whether this model may be used.", (why,))
    if not verdict.blessed:
        return Verdict(False, "It must not be used: the gate refused it.", verdict.reasons)
    judged, of = len(verdict.judged), len(verdict.classes)
    answer = f"It may be pushed: the gate let it through, on {judged} of {of} findings."
    left = [finding(c.result.name) for c in verdict.classes if c.status == "not judged"]
    reasons = [verdict.summary] if verdict.summary else []
    if left:
        reasons.append(f"Not judged, for too few patients: {', '.join(left)}.")
    return Verdict(True, answer, tuple(reasons))


def _facts(found: Evidence, split: str) -> Facts:
    aucs, mean = class_estimates(found, split)
    few = few_words(found, split)
    known = [c for c in found.classes if not few[c] and math.isfinite(aucs[c].value)]
    shown = sorted(known, key=lambda c: aucs[c].value)
    items = [Fact("mean AUC", _three(mean.value), _ninety_five(mean) or "without an interval")]
    for title, name in (("told best", shown[-1:]), ("told worst", shown[:1])):
        for one in name:
            below = aucs[one].value < 0.5
            note = finding(one) + (", worse than a coin" if below else "")
            items.append(Fact(title, _three(aucs[one].value), note, "bad" if below else ""))
    floor = found.verdict.floor if found.verdict else ()
    for probe in (one for one in floor if one.name == PROBE):
        gap = probe.difference
        mark = "good" if probe.beaten else "bad"
        items.append(
            Fact(
                "above the linear probe",
                f"{gap.value:+.3f}",
                f"{_ninety_five(gap, '+')}, eval",
                mark,
            )
        )
    scores = found.evaluations[found.final].whole(split)
    eces = [scores[c]["ece"] for c in found.classes if math.isfinite(scores[c]["ece"])]
    if eces:
        error = _three(sum(eces) / len(eces))
        items.append(Fact("calibration error", error, "mean ECE; 0 is right"))
    return Facts(tuple(items))


def _in_words(found: Evidence, split: str) -> Text:
    _, mean = class_estimates(found, split)
    ranks = (
        " Shown two X-rays, one with a finding and one without, the model ranks them rightly "
        f"{mean.value * 100:.0f} times of 100 in the mean of the findings; a coin does 50."
        if math.isfinite(mean.value)
        else ""
    )
    return Text(f"Measured on {on_whom(found, split)}.{ranks}")


def _comparison(found: Evidence, split: str) -> tuple[Block, ...]:
    rows = [row for row in mean_estimates(found, split) if kind_of(found, row[0]) != "method"]
    drawn = [
        Row(
            "this model" if name == found.final else said(name),
            one.value,
            one.low,
            one.high,
            TONES[kind_of(found, name)],
        )
        for name, one, _ in rows
    ]
    few = few_words(found, split)
    shown = [name for name in found.classes if not few[name]]
    images = found.evaluations[found.final].examples[split]
    sources = published(found.run, found.classes, split, images)
    drawn += [
        Row(f"{one.name}, published", one.mean(shown), tone="soft")
        for one in sources
        if one.comparable
    ]
    drawn.sort(key=lambda row: -row.value if math.isfinite(row.value) else math.inf)
    words = f"Mean AUC on {split}: " + ", ".join(f"{r.name} {r.value:.3f}" for r in drawn)
    blocks: list[Block] = [
        Chart(
            f"Mean AUC on {split}, over the same findings",
            forest(drawn, "mean AUC", words + "."),
            "Green: this model. Blue: its members. Orange: baselines, which it must beat.",
        )
    ]
    if not any(kind_of(found, name) == "baseline" for name, _, _ in rows):
        blocks.append(
            Missing("Baselines", f"The run has none. {found.lacking('scores', NO_SCORES)}")
        )
    reasons = {f"{o.split} ({o.reason})": None for o in sources if not o.comparable}
    if reasons:
        blocks.append(Text(f"Published figures that don't compare: {'; '.join(reasons)}.", "note"))
    return tuple(blocks)


def _classes(found: Evidence, split: str) -> tuple[Block, ...]:
    aucs, _ = class_estimates(found, split)
    few = few_words(found, split)
    order = sorted(
        (c for c in found.classes if not few[c] and math.isfinite(aucs[c].value)),
        key=lambda c: -aucs[c].value,
    )
    rows = [Row(finding(c), aucs[c].value, aucs[c].low, aucs[c].high) for c in order]
    words = f"AUC on {split}: " + ", ".join(f"{row.name} {row.value:.3f}" for row in rows)
    left = [f"{finding(name)} ({why})" for name, why in few.items() if why]
    blocks: list[Block] = []
    if rows:
        intervals = "Bars are 95 % intervals over patients. " if math.isfinite(rows[0].low) else ""
        chart = forest(rows, "AUC", words + ".", line=0.5)
        blocks.append(Chart(f"AUC by finding, {split}", chart, f"{intervals}Dashed: a coin."))
    if left:
        blocks.append(Missing("No figure", f"{', '.join(left)}."))
    return tuple(blocks)


def _judged(found: Evidence) -> tuple[Block, ...]:
    verdict = found.verdict
    if verdict is None or not (verdict.judged_by or verdict.not_judged):
        return (Missing("The gate's grounds", found.lacking("verdict", "The verdict names none.")),)
    return (
        Listing(verdict.judged_by, "Judged by"),
        Listing(verdict.not_judged or ("nothing was left out",), "Could not be judged"),
    )


def _cautions(found: Evidence, split: str) -> Iterator[str]:
    if found.run.synthetic:
        yield "Synthetic X-rays: the pipeline works, and nothing is said about patients."
    else:
        yield (
            "NIH's labels were taken from radiology reports by a program, and many are wrong; the "
            "page of adjudicated labels says how far."
        )
        yield (
            "One hospital's X-rays, 1992 to 2015. With other machines and other patients, figures "
            "fall, often by much."
        )
    few = [name for name, why in few_words(found, split).items() if why]
    if few:
        yield f"{len(few)} of {len(found.classes)} findings have too few images for any figure."
    if found.verdict and len(found.verdict.judged) < len(found.verdict.classes):
        yield "Findings that the gate didn't judge are in the model all the same."
    yield "It hasn't been compared with radiologists, and it is not a medical device."


def _three(value: float) -> str:
    return f"{value:.3f}" if math.isfinite(value) else "–"


def _ninety_five(one: Estimate, sign: str = "") -> str:
    return f"95 %: {interval(one, sign)}" if math.isfinite(one.low) else ""
