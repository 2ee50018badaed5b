"""A card in Markdown and HTML."""

import math
from collections.abc import Callable, Iterable, Mapping
from html import escape
from pathlib import Path
from statistics import fmean
from typing import Any

import jinja2
from markdown import Markdown

from cxrflow.components.card.evidence import Evidence
from cxrflow.components.localise.report import Figure
from cxrflow.schema.portable.scores import mean_auc

_FEW = 20  # positive images below which a class's figures are called guesses
_LEAST = 10  # images of each kind that a class in a slice needs
_COHORTS = {
    "all": "All images are in: those without a finding are negatives.",
    "findings": "Only images with at least one of the findings are in: no normal ones.",
}
_BASELINES = {
    "probe": "linear probe on frozen ImageNet features",
    "metadata": "age, sex and view alone",
    "shuffled": "labels shuffled",
}


def to_markdown(evidence: Evidence) -> str:
    """The card; the same evidence always gives the same text."""
    environment = jinja2.Environment(undefined=jinja2.StrictUndefined)
    environment.filters |= _FILTERS
    template = Path(__file__).with_name("model_card.md.j2").read_text(encoding="utf-8")
    text = environment.from_string(template).render(_context(evidence))
    return "\n".join(line.rstrip() for line in text.strip().splitlines()) + "\n"


def to_html(markdown: str) -> str:
    """A page that loads nothing from elsewhere."""
    body = Markdown(extensions=["tables"]).convert(markdown)
    # What is wider than a phone scrolls by itself.
    body = body.replace("<table>", '<div class="table" tabindex="0"><table>')
    body = body.replace("</table>", "</table></div>").replace("<th", '<th scope="col"')
    body = body.replace('<th scope="col"ead', "<thead")
    page = jinja2.Template(Path(__file__).with_name("page.html.j2").read_text(encoding="utf-8"))
    title = markdown.partition("\n")[0].removeprefix("# ")
    return f"{page.render(title=escape(title), body=body)}\n"


def _context(evidence: Evidence) -> dict[str, Any]:
    figures, info = evidence.figures, evidence.info
    return {
        "info": info,
        "figures": figures,
        "said": evidence.settings.card,
        "cohort": _COHORTS[evidence.settings.cohort],
        "splits": evidence.splits,
        "quarantine": evidence.quarantine,
        "trainings": {one.name: one for one in evidence.trainings},
        "localisation": evidence.localisation,
        "versions": evidence.versions,
        "outcome": _outcome(evidence),
        "intervals": "Intervals are 95 %, patients resampled."
        if figures.has_intervals
        else "This run gave no intervals.",
        "method": (info.ensemble or {}).get("method", "an unknown method"),
        "members": list(_members(evidence)),
        "metadata_floor": next((one for one in figures.floor if one.name == "metadata"), None),
        "shortcuts": evidence.shortcuts,
        "slices": list(_slices(evidence)),
        "least": _LEAST,
        "calibration": {
            field: _mean(getattr(item.result, field) for item in figures.classes)
            for field in ("ece", "ece_uncalibrated", "brier_score", "brier_score_uncalibrated")
        }
        | {"ece_by_chance": _mean(item.ece_by_chance for item in figures.classes)},
        "points": list(_points(evidence)),
        "few": [item.result for item in figures.classes if item.result.positives < _FEW],
    }


def _outcome(evidence: Evidence) -> str:
    figures = evidence.figures
    states = [item.status.removesuffix("ed") for item in figures.classes]
    passed, failed = (sum(state.startswith(word) for state in states) for word in ("pass", "fail"))
    word = "blessed this model" if figures.blessed else "did not bless this model"
    left = len(states) - passed - failed
    return (
        f"The gate {word}: of {len(states)} classes {passed} passed, {failed} failed, and {left} "
        "could not be judged."
    )


def _members(evidence: Evidence) -> Iterable[dict[str, Any]]:
    """Mean AUCs of members and methods, where the model is an ensemble."""
    report = evidence.ensemble
    if not report:
        return
    scores: Mapping[str, Mapping[str, Mapping[str, float | None]]] = report["scores"]
    for name in scores["eval"]:
        means = {
            split: mean_auc(math.nan if v is None else v for v in scores[split][name].values())
            for split in ("eval", "test")
        }
        yield {"name": name, "chosen": name == report["chosen"], **means}


def _slices(evidence: Evidence) -> Iterable[dict[str, Any]]:
    """Mean AUCs of the groups of the split that decides."""
    before = f"split={evidence.figures.split},"
    for name, classes in evidence.figures.slices.items():
        if not name.startswith(before):
            continue
        aucs = [one.auc for one in classes if min(one.positives, one.negatives) >= _LEAST]
        yield {"name": name.removeprefix(before), "classes": len(aucs), "auc": _mean(aucs)}


def _points(evidence: Evidence) -> Iterable[dict[str, Any]]:
    for name in evidence.info.classes:
        for point, found in (evidence.info.thresholds.get(name) or {}).items():
            if found is not None:
                yield {"name": name, "point": point, **found}


def _mean(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None and math.isfinite(value)]
    return fmean(known) if known else None


def _number(value: float | None) -> str:
    return "–" if value is None or not math.isfinite(value) else f"{value:.3f}"


def _estimate(estimate: Figure, value: float | None = None) -> str:
    """With its interval; `value` where the gate gave no figure of its own."""
    found = value if estimate.value is None else estimate.value
    if estimate.low is None or estimate.high is None:
        return _number(found)
    return f"{_number(found)} ({_number(estimate.low)} to {_number(estimate.high)})"


def _count(n: int | None) -> str:
    return "–" if n is None else f"{n:,}"


def _share(share: float | None) -> str:
    return "–" if share is None else f"{share:.0%}"


def _baseline(name: str) -> str:
    return _BASELINES.get(name, name)


def _text(text: object) -> str:
    """What isn't ours to format: no tags, and no columns of a table."""
    return escape(str(text), quote=False).replace("|", "&#124;").replace("\n", " ")


def _ages(ages: tuple[int, float, int] | None) -> str:
    return "–" if ages is None else f"{ages[1]:g} ({ages[0]} to {ages[2]})"


_FILTERS: dict[str, Callable[..., str]] = {
    "text": _text,
    "number": _number,
    "count": _count,
    "share": _share,
    "ages": _ages,
    "estimate": _estimate,
    "baseline": _baseline,
}
