"""Two pushed versions side by side, for the terminal."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from cxrflow.components.publish.models import Version, versions_of
from cxrflow.schema.errors import CxrflowError
from cxrflow.schema.model_json import ModelJson, read_model_json

# What model.json says of how a model came about, and what it is called on the terminal.
_FACTS = {
    "image_size": "image size",
    "members": "members",
    "ensemble": "ensemble",
    "data": "data",
    "code": "code",
}


@dataclass(frozen=True)
class Side:
    """One of the two versions."""

    version: Version
    info: ModelJson


def compare(model_dir: Path, numbers: list[int]) -> tuple[Side, Side]:
    """The two versions to compare.

    Args:
        model_dir: `<serving root>/<model name>`.
        numbers: two versions; one: against the stable one; none: the stable one and the newest
            other.

    Raises:
        CxrflowError: there aren't two versions, or not those.
    """
    there = {version.number: version for version in versions_of(model_dir)}
    stable = next((n for n, version in there.items() if "stable" in version.labels), None)
    wanted = list(numbers)
    if len(wanted) < 2 and stable is not None:
        wanted.insert(0, stable)
    wanted += [n for n in sorted(there, reverse=True) if n not in wanted][: 2 - len(wanted)]
    listed = ", ".join(map(str, sorted(there)))
    if missing := [n for n in wanted if n not in there]:
        raise CxrflowError(f"there is no version {missing[0]} in {model_dir}, only {listed}")
    if len(set(wanted)) != 2:
        raise CxrflowError(f"name two versions to compare; {model_dir} has {listed}")
    first, second = (
        Side(there[number], read_model_json(model_dir / str(number))) for number in wanted
    )
    return first, second


def show_comparison(first: Side, second: Side, console: Console | None = None) -> None:
    """Prints the test AUCs of two versions, and in what else they differ."""
    console = console or Console()
    for side in (first, second):
        labels = ", ".join(side.version.labels) or "no label"
        state = "whole" if not side.version.problems else f"damaged: {side.version.problems[0]}"
        console.print(f"{side.version.number}: {escape(labels)}; {escape(state)}", soft_wrap=True)
    console.print(_auc_table(first, second))
    facts = first.info.to_json(), second.info.to_json()
    for key, name in _FACTS.items():
        before, now = (_text(each[key]) for each in facts)
        if before != now:
            console.print(f"{name}: {escape(before)} → {escape(now)}", soft_wrap=True)
    if first.info.data != second.info.data:
        console.print("the two were trained on different data: their AUCs may be of other images")
    if first.version.synthetic or second.version.synthetic:
        console.print("synthetic X-rays: these figures say nothing about real ones")
    console.print("each AUC is of the test split of its own run, without an interval")


def _auc_table(first: Side, second: Side) -> Table:
    table = Table(title="test AUC")
    table.add_column("class", overflow="fold")
    for heading in (str(first.version.number), str(second.version.number), "difference"):
        table.add_column(heading, justify="right")
    classes = dict.fromkeys([*first.info.classes, *second.info.classes])
    for name in classes:
        table.add_row(
            escape(name), *_cells(*(s.version.class_auc.get(name) for s in (first, second)))
        )
    table.add_section()
    table.add_row("mean", *_cells(first.version.mean_auc, second.version.mean_auc))
    return table


def _cells(before: float | None, now: float | None) -> tuple[str, str, str]:
    change = "–" if before is None or now is None else f"{now - before:+.3f}"
    return _auc(before), _auc(now), change


def _auc(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"


def _text(value: Any) -> str:
    if isinstance(value, list | tuple):
        return "; ".join(_text(each) for each in value) or "none"
    if isinstance(value, dict):
        return " ".join(str(value[k]) for k in ("name", "backbone", "head", "method") if k in value)
    return "none" if value in (None, "", 0) else str(value)
