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
    return [*dict.fromkeys(_remedies(found, again))]


def _remedies(found: Verdict, again: str) -> Iterator[str]:
    """A remedy for each kind of reason."""
    for item in found.classes:
        if item.status == "fail":
            yield _of_class(item, again)
    for reason in found.reasons:
        if "(min_positives)" in reason:
            yield _of_few(found, again)
        elif "(min_mean_auc)" in reason:
            yield _longer("evaluate.min_mean_auc", again)
        elif "(max_auc_drop)" in reason:
            yield _kept("evaluate.max_auc_drop", again)


def _of_class(item: ClassVerdict, again: str) -> str:
    result = item.result
    if not math.isfinite(result.mean_prediction) or result.prediction_range == 0:
        return (
            f"train longer, {again} --set train.epochs=N, or with a lower rate, --set "
            "train.learning_rate=RATE: it answers all images alike"
        )
    if math.isnan(result.auc) or result.auc < item.min_auc:
        return _longer("evaluate.min_auc", again)
    return _kept("evaluate.max_class_auc_drop", again)


def _longer(limit: str, again: str) -> str:
    return f"train longer, {again} --set train.epochs=N, or lower the bar, --set {limit}=AUC"


def _kept(limit: str, again: str) -> str:
    return (
        "nothing to do: the last blessed model is better and stays pushed; to take this one all "
        f"the same: {again} --set {limit}=DROP"
    )


def _of_few(found: Verdict, again: str) -> str:
    counts = {item.result.name: _rarer(item) for item in found.classes}
    most = max(counts, key=counts.__getitem__)
    if not counts[most]:
        return f"no class has positives and negatives in {found.split}: more X-rays are needed"
    return (
        f"more X-rays: the best filled class, {most}, has {counts[most]} in {found.split}; or "
        f"judge by fewer, {again} --set evaluate.min_positives={counts[most]}"
    )


def _rarer(item: ClassVerdict) -> int:
    return min(item.result.positives, item.result.negatives)


def tensorboard(run: Run) -> str:
    """The command that opens the curves of all the run's models."""
    folders = [Path(run.artifacts[name]["model_run"]) for name in run.trainers]
    common = folders[0]
    while not all(folder.is_relative_to(common) for folder in folders):
        common = common.parent
    return command_line("--logdir", common, name="tensorboard")
