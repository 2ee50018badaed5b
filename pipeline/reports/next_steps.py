"""What a run's summary advises: for the reason at hand, as commands that can be typed here."""

import math
from collections.abc import Iterator
from pathlib import Path

from cxrflow.components.evaluate.verdict import ClassVerdict, Verdict
from cxrflow.components.publish.report import CheckReport
from cxrflow.pipeline.record import Run
from cxrflow.schema.commands import command_line


def next_steps(
    run: Run, found: Verdict, served: CheckReport | None, root: Path, again: str
) -> list[str]:
    """One line a step.

    Args:
        run: the finished run.
        found: its gate's verdict.
        served: its serving check's report, if there was one.
        root: as the user named it.
        again: the command that runs the pipeline, without the settings to change.
    """
    if run.pushed:
        last = "serve" if run.synthetic else "baseline"
        return [command_line(command, "--root", root) for command in ("dashboard", last)]
    if found.blessed and served and not served.blessed:
        return [
            "the model is blessed but failed its serving check, as above: "
            "serving_check.* are its limits"
        ]
    return [*dict.fromkeys(_remedies(found, again, _trains(run)))]


def _trains(run: Run) -> bool:
    """Whether a model has epochs: a probe is fitted to its end."""
    models = run.config.get("models") or {"": run.config.get("train", {})}
    return any(recipe.get("head") != "probe" for recipe in models.values())


def _remedies(found: Verdict, again: str, trains: bool) -> Iterator[str]:
    """A remedy for each kind of reason; trains: see `_trains`."""
    for item in found.classes:
        if item.status == "failed":
            yield _of_class(item, again, trains)
    for reason in found.reasons:
        if "(min_positive_patients)" in reason:
            yield _of_few(found, again)
        elif "(min_mean_auc)" in reason:
            yield _lower("evaluate.min_mean_auc", again, trains)
    for other in found.floor:
        if other.required and not other.judged:
            yield (
                "more X-rays: no class has patients enough on eval to tell whether the model is "
                "better than the simplest ones; evaluate.min_positive_patients says how many"
            )
        elif other.required and not other.beaten:
            yield (
                "take a better recipe or more X-rays: a model that isn't better than the simplest "
                "ones is of no use; evaluate.must_beat names which it has to beat"
            )
    if any(change.finding == "worse" for change in found.against_last.values()):
        yield _kept(again)
    for group in found.subgroups:
        if group.status == "failed":
            yield (
                f"more X-rays of {group.attribute} {group.group}, or allow the gap: {again} --set "
                "evaluate.max_subgroup_gap=GAP"
            )


def _of_class(item: ClassVerdict, again: str, trains: bool) -> str:
    result = item.result
    if not math.isfinite(result.mean_prediction) or result.prediction_range == 0:
        slower = ", or with a lower rate, --set train.learning_rate=RATE" if trains else ""
        return f"{_learn(again, trains)}{slower}: it answers all images alike"
    if math.isnan(result.auc) or result.auc < item.min_auc:
        return _lower("evaluate.min_auc", again, trains)
    if any(change.finding == "worse" for change in item.against_last.values()):
        return _kept(again)
    return (
        "its probabilities can't be taken at their word: calibrate.method platt fits them to eval, "
        "or allow more, --set evaluate.max_ece=ECE"
    )


def _lower(limit: str, again: str, trains: bool) -> str:
    command = "" if trains else f"{again} "  # which is told already
    return f"{_learn(again, trains)}, or lower the bar, {command}--set {limit}=AUC"


def _learn(again: str, trains: bool) -> str:
    return f"train longer, {again} --set train.epochs=N" if trains else "learn from more X-rays"


def _kept(again: str) -> str:
    return (
        "nothing to do: the last blessed model is better and stays pushed; to take this one all "
        f"the same: {again} with wider margins, evaluate.max_*_drop and evaluate.max_*_rise"
    )


def _of_few(found: Verdict, again: str) -> str:
    counts = {item.result.name: _rarer(item) for item in found.classes}
    most = max(counts, key=counts.__getitem__)
    if not counts[most]:
        return f"no class has positives and negatives in {found.split}: more X-rays are needed"
    return (
        f"more X-rays: the best filled class, {most}, has {counts[most]} patients in "
        f"{found.split}; or judge by fewer, {again} --set "
        f"evaluate.min_positive_patients={counts[most]}"
    )


def _rarer(item: ClassVerdict) -> int:
    return min(item.positive_patients, item.negative_patients)


def tensorboard(run: Run) -> str:
    """The command that opens the curves of all the run's models."""
    folders = [Path(run.artifacts[name]["model_run"]) for name in run.trainers]
    common = folders[0]
    while not all(folder.is_relative_to(common) for folder in folders):
        common = common.parent
    return command_line("--logdir", common, name="tensorboard")
