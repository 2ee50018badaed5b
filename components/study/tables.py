"""Markdown pages of the study: its tables of 2019 in their shape, with ours beside them."""

from collections.abc import Callable, Iterable, Sequence
from functools import partial
from itertools import combinations
from math import sqrt
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

import yaml
from scipy import stats

from cxrflow.components.study.plan import Values, changes
from cxrflow.components.study.results import ExperimentResult, TrialResult
from cxrflow.components.study.settings import SEEDED, Experiment, StudyConfig

STUDY_2019 = Path(__file__).parent / "study_2019.yaml"
TITLES: dict[Experiment, str] = {
    "optimizer": "Optimizers",
    "learning_rate_batch": "Learning rate × batch size",
    "image_size": "Image size",
    "color": "RGB against gray",
    "head": "Heads",
    "backbone": "Backbones",
}
_NONE = "–"
_FAILED = "failed"
_ENOUGH_SEEDS = 3


def page(result: ExperimentResult, study: StudyConfig) -> str:
    """The page of one experiment."""
    published = yaml.safe_load(STUDY_2019.read_text(encoding="utf-8"))
    of_2019 = published[result.experiment]
    tables = {
        "optimizer": _optimizer,
        "learning_rate_batch": _learning_rate_batch,
        "image_size": _image_size,
        "color": _color,
        "head": _of_seeds,
        "backbone": _of_seeds,
    }[result.experiment](result, study, of_2019)
    best = winner(result, study)
    failures = [
        f"- {_shown(trial.values)}: {trial.failure}" for trial in result.trials if trial.failure
    ]
    parts = [
        f"# {TITLES[result.experiment]}",
        *_provenance(result, study),
        f"**2019**: {published['source']}. {of_2019['why_confounded']}",
        *tables,
        *(["Trials that failed:", "\n".join(failures)] if failures else []),
        f"Best on eval: `{best}`" if best else "No setting to choose: too many trials failed.",
    ]
    return "\n\n".join(parts) + "\n"


def winner(result: ExperimentResult, study: StudyConfig) -> str:
    """The best trial's settings as options of `cxrflow run`: highest mean AUC on eval.

    A head's or backbone's is the mean over the seeds in which none failed that came to its end in
    any; empty if there is no trial to choose from.
    """
    kind: str = result.experiment
    chosen: dict[str, Any] = {}
    if kind in SEEDED:
        aucs = _by_option(result, lambda trial: trial.best_auc)
        if aucs:
            chosen[kind] = max(aucs, key=lambda one: fmean(aucs[one]))
    else:
        done = [trial for trial in result.trials if not trial.failure]
        best = max(done, key=lambda trial: trial.best_auc, default=None)
        chosen = changes(result.experiment, best.values, study) if best else {}
    return " ".join(f"--set train.{name}={value}" for name, value in chosen.items())


def _provenance(result: ExperimentResult, study: StudyConfig) -> list[str]:
    recipe = result.recipe
    width = f" (alpha {recipe['alpha']:g})" if recipe["alpha"] != 1 else ""
    trained = {"": "all layers", "head": "the head"}.get(
        recipe["finetune_from"], f"layers from {recipe['finetune_from']}"
    )
    left_out = " Trials leave out train.head_epochs." if recipe["head_epochs"] else ""
    seeds = study.seeds if result.experiment in SEEDED else (recipe["seed"],)
    text = (
        f"**Here**: every trial starts from the same initial weights and sees "
        f"{result.images_seen:,} images, drawn from {result.train_images:,} of the train split; "
        f"scores on the eval split ({result.eval_images:,} images), {study.evaluations} times. "
        f"Seed {', '.join(map(str, seeds))}. Where the table doesn't say otherwise: "
        f"{recipe['backbone']}{width}, weights {recipe['weights']}, {trained} trained, head "
        f"{recipe['head']}, {recipe['image_size']} px, {recipe['optimizer']} at "
        f"{recipe['learning_rate']:g}, {recipe['batch_size'] * recipe['accumulation_steps']} "
        f"images an update.{left_out} Loss: mean binary cross-entropy, nats; AUC: mean of the "
        "classes; s: seconds, those of a first trial with what it stored for the others."
    )
    synthetic = ["**Synthetic X-rays: these figures say nothing about real ones.**"]
    return [*(synthetic if result.synthetic else []), text]


def _optimizer(result: ExperimentResult, study: StudyConfig, of_2019: dict[str, Any]) -> list[str]:
    header = [
        "optimizer",
        "2019: epochs",
        "first val_loss",
        "best (epoch)",
        "last",
        "here: first eval loss",
        "best (images)",
        "last",
        "best AUC",
        "s",
    ]
    names = dict.fromkeys([*of_2019["rows"], *(t.values["optimizer"] for t in result.trials)])
    rows = []
    for name in names:
        old = [_NONE] * 4
        if name in of_2019["rows"]:
            epochs, first, best, epoch, last = of_2019["rows"][name]
            old = [str(epochs), _number(first), f"{_number(best)} ({epoch})", _number(last)]
        trial = result.find(optimizer=name)
        if trial is None or trial.failure:
            new = [_FAILED if trial else _NONE] + [_NONE] * 4
        else:
            lowest = min(trial.curve, key=lambda point: point.eval_loss)
            new = [
                _number(trial.curve[0].eval_loss),
                f"{_number(lowest.eval_loss)} ({lowest.images:,})",
                _number(trial.curve[-1].eval_loss),
                _number(trial.best_auc),
                _NONE if trial.seconds is None else f"{trial.seconds:.0f}",
            ]
        rows.append([name, *old, *new])
    return [_markdown(header, rows)]


def _learning_rate_batch(
    result: ExperimentResult, study: StudyConfig, of_2019: dict[str, Any]
) -> list[str]:
    # Columns by images an update.
    here = {study.batch_size * n: n for n in study.accumulation_steps}
    old = [of_2019["batch_size"] * n for n in of_2019["accumulation_steps"]]
    columns = sorted({*here, *old}, reverse=True)
    rates = sorted({*of_2019["first_epoch"], *study.learning_rates})

    def ours(rate: float, column: int, text: Callable[[TrialResult], str]) -> str:
        trial = result.find(learning_rate=rate, accumulation_steps=here.get(column))
        return _cell(trial, text)

    def beside(of_2019: dict[float, list[float]], text: Callable[[TrialResult], str]) -> str:
        rows = []
        for rate in rates:
            theirs = dict(zip(old, of_2019.get(rate, [None] * len(old)), strict=True))
            cells = [(_number(theirs.get(c)), ours(rate, c, text)) for c in columns]
            rows.append([f"{rate:g}", *(cell for pair in cells for cell in pair)])
        return _markdown(["learning rate", *_paired(columns)], rows)

    return [
        "Columns: images an update. 2019: val_loss after the first epoch (32,000 images). Here: "
        f"eval loss after {result.images_seen:,} images.",
        beside(of_2019["first_epoch"], lambda trial: _number(trial.curve[-1].eval_loss)),
        "The lowest of the curve: 2019 of 6 to 45 epochs, here within the same images.",
        beside(of_2019["best_epoch"], lambda trial: _number(trial.best_loss)),
        "The highest mean AUC of the curve, here (2019 measured none):",
        _markdown(
            ["learning rate", *map(str, here)],
            [
                [f"{rate:g}", *(ours(rate, c, lambda t: _number(t.best_auc)) for c in here)]
                for rate in study.learning_rates
            ],
        ),
    ]


def _image_size(result: ExperimentResult, study: StudyConfig, of_2019: dict[str, Any]) -> list[str]:
    sizes = sorted({*of_2019["sizes"], *study.image_sizes}, reverse=True)
    old = _columns(of_2019["sizes"], of_2019["epochs"])
    trials = {size: result.find(image_size=size) for size in sizes}
    images = dict(zip(of_2019["sizes"], of_2019["images_per_epoch"], strict=True))
    exposure = ", ".join(f"{size} px {count:,}" for size, count in images.items())
    left_out = [size for size in study.image_sizes if trials[size] is None]
    note = f" Left out here, above the stored images: {_listed(left_out)} px." if left_out else ""
    return [
        f"Columns: pixels. 2019: val_loss by epoch, of so many images: {exposure}. Here: eval loss "
        f"after the same images at every size.{note}",
        _curves(result, study, sizes, old, trials),
        _scores(trials),
    ]


def _color(result: ExperimentResult, study: StudyConfig, of_2019: dict[str, Any]) -> list[str]:
    settings = [tuple(setting) for setting in of_2019["settings"]]
    old = _columns(settings, of_2019["epochs"])
    found = [(t.values["color"], t.values["image_size"]) for t in result.trials]
    keys = list(dict.fromkeys([*settings, *found]))
    trials = {key: result.find(color=key[0], image_size=key[1]) for key in keys}
    named = {key: f"{key[0]} {key[1]}" for key in keys}
    return [
        "2019: val_loss by epoch of 32,000 images. Here: eval loss after so many images. Gray: the "
        "first convolution has one input channel; the X-rays are the same. All layers of both are "
        "trained from random weights: ImageNet's have three channels.",
        _curves(
            result,
            study,
            list(named.values()),
            {named[key]: old[key] for key in settings},
            {named[key]: trial for key, trial in trials.items()},
        ),
        _scores({named[key]: trial for key, trial in trials.items()}),
    ]


def _of_seeds(result: ExperimentResult, study: StudyConfig, of_2019: dict[str, Any]) -> list[str]:
    """Heads or backbones, each with every seed."""
    kind = result.experiment
    options = study.heads if kind == "head" else study.backbones
    by_seed = [
        [str(seed), *(_cell(result.find(seed=seed, **{kind: one}), _both) for one in options)]
        for seed in study.seeds
    ]
    aucs = _by_option(result, lambda trial: trial.best_auc)
    losses = _by_option(result, lambda trial: trial.best_loss)
    spread = [
        [name]
        + [
            f"{_number(of(aucs[one]))} / {_number(of(losses[one]))}" if one in aucs else _NONE
            for one in options
        ]
        for name, of in (("mean", fmean), ("standard deviation", _stdev))
    ]
    old = [
        [f"2019, last epoch: {label}", *(_number(values.get(one)) for one in options)]
        for label, values in of_2019["val_loss"].items()
    ]
    pairs = [
        [
            f"{a} − {b}",
            *_paired_difference(aucs[a], aucs[b]),
            *_paired_difference(losses[a], losses[b]),
        ]
        for a, b in combinations([one for one in options if one in aucs], 2)
    ]
    parts = [
        f"Highest mean AUC / lowest eval loss of each training's curve. All {kind}s have one "
        f"recipe: one that was tuned with a certain {kind} favours it.",
        _markdown(["seed", *options], [*by_seed, *spread, *old]),
        "Mean eval loss of the seeds, by the images seen:",
        _mean_curves(result, study, kind, options),
    ]
    if not aucs:
        return parts
    count = len(next(iter(aucs.values())))
    few = f" Fewer than {_ENOUGH_SEEDS}: too few to tell a difference from chance."
    return [
        *parts,
        f"Differences paired by seed, over the {count} seeds that all of them have: mean, standard "
        "deviation, and the mean's interval by Student's t, which tells how trainings on these "
        f"patients differ, and not patients.{few if count < _ENOUGH_SEEDS else ''}",
        _markdown([f"{kind}s", "AUC", "sd", "95 %", "eval loss", "sd", "95 %"], pairs),
    ]


def _mean_curves(
    result: ExperimentResult, study: StudyConfig, kind: str, options: Sequence[str]
) -> str:
    curves = {
        one: [t.curve for t in result.trials if t.values[kind] == one and not t.failure]
        for one in options
    }
    rows = []
    for i in range(study.evaluations):
        found = ([curve[i].eval_loss for curve in curves[one] if i < len(curve)] for one in options)
        images = f"{result.images_seen // study.evaluations * (i + 1):,}"
        rows.append([images, *(_number(fmean(each) if each else None) for each in found)])
    return _markdown(["images", *options], rows)


def _by_option(
    result: ExperimentResult, of: Callable[[TrialResult], float]
) -> dict[str, list[float]]:
    """A score of each option that didn't always fail, over the seeds that all of these have."""
    kind = result.experiment
    done = [trial for trial in result.trials if not trial.failure]
    options = list(dict.fromkeys(trial.values[kind] for trial in done))
    by_seed: dict[int, dict[str, float]] = {}
    for trial in done:
        by_seed.setdefault(trial.values["seed"], {})[trial.values[kind]] = of(trial)
    whole = [scores for scores in by_seed.values() if len(scores) == len(options)]
    return {one: [scores[one] for scores in whole] for one in options} if whole else {}


def _paired_difference(a: Sequence[float], b: Sequence[float]) -> tuple[str, str, str]:
    """Mean, standard deviation and the mean's 95 % interval."""
    differences = [x - y for x, y in zip(a, b, strict=True)]
    mean, deviation = fmean(differences), _stdev(differences)
    if deviation is None:
        return f"{mean:+.4f}", _NONE, _NONE
    half = float(stats.t.ppf(0.975, len(differences) - 1)) * deviation / sqrt(len(differences))
    return f"{mean:+.4f}", _number(deviation), f"{mean - half:+.4f} to {mean + half:+.4f}"


def _curves(
    result: ExperimentResult,
    study: StudyConfig,
    columns: Sequence[Any],
    old: dict[Any, list[float | None]],
    trials: dict[Any, TrialResult | None],
) -> str:
    """A row an evaluation: 2019's epoch of that number and ours."""
    rows = []
    for i in range(max(study.evaluations, *map(len, old.values()))):
        images = f"{result.images_seen // study.evaluations * (i + 1):,}"
        row = [str(i + 1), images if i < study.evaluations else _NONE]
        for column in columns:
            theirs = old.get(column, [])
            trial = trials.get(column)
            row.append(_number(theirs[i] if i < len(theirs) else None))
            row.append(_cell(trial, partial(_eval_loss, i)) if i < study.evaluations else _NONE)
        rows.append(row)
    return _markdown(["epoch 2019", "images here", *_paired(columns)], rows)


def _scores(trials: dict[Any, TrialResult | None]) -> str:
    """What the curves of 2019 don't have."""
    rows = [
        [
            str(name),
            _cell(trial, lambda t: _number(t.best_loss)),
            _cell(trial, lambda t: _number(t.best_auc)),
            _cell(trial, lambda t: _NONE if t.seconds is None else f"{t.seconds:.0f}"),
        ]
        for name, trial in trials.items()
        if trial
    ]
    return _markdown(["here", "lowest eval loss", "highest mean AUC", "s"], rows)


def _columns(keys: Sequence[Any], rows: Sequence[Sequence[float | None]]) -> dict[Any, list[Any]]:
    return dict(zip(keys, map(list, zip(*rows, strict=True)), strict=True))


def _paired(columns: Iterable[Any]) -> list[str]:
    return [f"{column} {where}" for column in columns for where in ("2019", "here")]


def _cell(trial: TrialResult | None, text: Callable[[TrialResult], str]) -> str:
    if trial is None:
        return _NONE
    return _FAILED if trial.failure else text(trial)


def _eval_loss(evaluation: int, trial: TrialResult) -> str:
    return _number(trial.curve[evaluation].eval_loss)


def _both(trial: TrialResult) -> str:
    return f"{_number(trial.best_auc)} / {_number(trial.best_loss)}"


def _number(value: float | None) -> str:
    if value is None:
        return _NONE
    return f"{value:.4f}" if abs(value) < 10_000 else f"{value:.1e}"  # of a training that diverged


def _stdev(values: Sequence[float]) -> float | None:
    """Standard deviation of the sample; None for a single value."""
    return stdev(values) if len(values) > 1 else None


def _shown(values: Values) -> str:
    return ", ".join(f"{name} {value}" for name, value in values.items())


def _listed(values: Iterable[Any]) -> str:
    return ", ".join(map(str, values))


def _markdown(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    rule = ["---"] + ["---:"] * (len(header) - 1)
    return "\n".join("| " + " | ".join(row) + " |" for row in (header, rule, *rows))
