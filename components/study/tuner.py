"""One experiment as a KerasTuner search: every trial is a training of its own."""

import hashlib
import json
import logging
import os
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from itertools import product
from pathlib import Path
from typing import Any

import keras
import keras_tuner
import tensorflow as tf
from keras_tuner.engine.base_tuner import BaseTuner
from keras_tuner.engine.trial import Trial, TrialStatus
from keras_tuner.errors import FailedTrialError, FatalError

from cxrflow.components.model.network import build_network
from cxrflow.components.model.recipe import TrainConfig
from cxrflow.components.study.plan import grid, trial_recipe
from cxrflow.components.study.results import ExperimentResult, Point, TrialResult
from cxrflow.components.study.settings import Experiment, StudyConfig
from cxrflow.components.train.devices import training_devices
from cxrflow.components.train.fit import train
from cxrflow.components.train.inputs import count_steps
from cxrflow.components.train.run import fingerprint, own_folder, require_keras_3
from cxrflow.components.train.source import Inputs
from cxrflow.components.train.splits import open_splits
from cxrflow.schema.errors import CxrflowError
from cxrflow.schema.model_json import CompactFormat
from cxrflow.schema.progress import logger as progress_logger
from cxrflow.schema.progress import progress_of

logger = logging.getLogger(__name__)

# Settings that the features of a frozen backbone don't depend on.
_OF_HEAD_ONLY = ("head", "optimizer", "momentum", "learning_rate", "accumulation_steps")


def tuner_fn(fn_args: Any) -> Any:
    """The entry point that TFX's Tuner calls; `fn_args` is its FnArgs, the result TunerFnResult.

    custom_config: `experiment`, `study` (fields of StudyConfig), `train` (fields of TrainConfig),
    `transform` (image_size, encoding, jpeg_quality), `classes`, `synthetic`, `code_version` and
    `work_dir` (this experiment's own folder, where a killed search waits for the next call).
    """
    from tfx.components.tuner.component import TunerFnResult

    require_keras_3()
    config = fn_args.custom_config
    tuner = StudyTuner(
        config["experiment"],
        StudyConfig(**config["study"]),
        TrainConfig(**config["train"]),
        TrialImages(fn_args, own_folder(Path(config["work_dir"]), fingerprint(fn_args))),
        list(config["classes"]),
        config["synthetic"],
    )
    return TunerFnResult(tuner=tuner, fit_kwargs={})


class TrialImages:
    """The train and eval images in any size, each stored once for all trials, or streamed."""

    def __init__(self, fn_args: Any, folder: Path) -> None:
        self.fn_args = fn_args
        self.folder = folder
        self.compact = CompactFormat(**fn_args.custom_config["transform"])

    def get(self, image_size: int) -> tuple[Inputs, Inputs]:
        """Train and eval images, [N, image_size, image_size, 1]."""
        how = self.fn_args.custom_config["train"]["input"]
        folder = self.folder / f"images-{image_size}"
        train_images, eval_images = open_splits(self.fn_args, self.compact, image_size, how, folder)
        return train_images.inputs, eval_images.inputs


class Grid(keras_tuner.Oracle):
    """All combinations of the settings' values, in order.

    KerasTuner's own grid search doesn't save where it is, and ends when it is reloaded.
    """

    def populate_space(self, trial_id: str) -> dict[str, Any]:
        settings = self.hyperparameters.space
        combinations = list(product(*(setting.values for setting in settings)))
        started = len(self.start_order)
        if started == len(combinations):
            return {"status": TrialStatus.STOPPED}
        names = (setting.name for setting in settings)
        values = dict(zip(names, combinations[started], strict=True))
        return {"status": TrialStatus.RUNNING, "values": values}


class StudyTuner(BaseTuner):
    """Trains every combination of an experiment from the same initial weights.

    Trials share nothing but the images and, where the frozen part of the network and the seed are
    the same, its stored features. A search that was killed goes on in the trial, and after the
    evaluation, where it stopped. A trial that diverges or doesn't fit into memory is recorded as
    failed and the rest goes on.
    """

    def __init__(
        self,
        experiment: Experiment,
        study: StudyConfig,
        recipe: TrainConfig,
        images: TrialImages,
        classes: list[str],
        synthetic: bool,
    ) -> None:
        self.experiment = experiment
        self.study = study
        self.recipe = recipe
        self.images = images
        self.classes = classes
        self.synthetic = synthetic
        space = keras_tuner.HyperParameters()
        axes = grid(experiment, study, images.compact.image_size)
        for name, values in axes.items():
            space.Choice(name, list(values))
        self.planned = len(list(product(*axes.values())))
        oracle = Grid(
            objective=keras_tuner.Objective("eval_auc", "max"),
            max_trials=self.planned,
            hyperparameters=space,
            max_consecutive_failed_trials=None,  # a row of the grid may well diverge as a whole
        )
        super().__init__(oracle, directory=str(images.folder), project_name="trials")

    def run_trial(self, trial: Trial) -> dict[str, float]:
        """Trains one combination; its curve goes into the trial's metrics."""
        recipe = trial_recipe(
            self.experiment, trial.hyperparameters.values, self.study, self.recipe
        )
        folder = Path(self.get_trial_dir(trial.trial_id)) / "training"
        images = self.images.get(recipe.image_size)
        resumed = folder.exists()
        started = time.monotonic()
        try:
            with _named_in_progress(int(trial.trial_id) + 1, self.planned):
                curve = self._train(recipe, images, folder)
        except (CxrflowError, tf.errors.ResourceExhaustedError) as error:
            logger.warning("trial %s failed: %s", trial.trial_id, error)
            raise FailedTrialError(str(error).partition("\n")[0]) from error
        except Exception as error:  # KerasTuner would go on with the next trial
            raise FatalError(f"{type(error).__name__}: {error}") from error
        for name, direction in (("curve_loss", "min"), ("curve_auc", "max"), ("seconds", "min")):
            trial.metrics.register(name, direction)
        for point in curve:
            trial.metrics.update("curve_loss", point.eval_loss, step=point.images)
            trial.metrics.update("curve_auc", point.eval_auc, step=point.images)
        if not resumed:
            trial.metrics.update("seconds", round(time.monotonic() - started, 1))
        shutil.rmtree(folder)
        return {"eval_auc": max(point.eval_auc for point in curve)}

    def on_search_end(self) -> None:
        """Raises CxrflowError if no trial came to its end."""
        results = self.results().trials
        if all(trial.failure for trial in results):
            shutil.rmtree(self.project_dir)  # so that the next call tries again
            raise CxrflowError(
                f"study, {self.experiment}: none of {len(results)} trials came to its end, the "
                f"first one because: {results[0].failure}"
            )

    def results(self) -> ExperimentResult:
        """All trials that were started, in the order of the grid."""
        train_images, eval_images = self.images.get(self.recipe.image_size)
        return ExperimentResult(
            experiment=self.experiment,
            recipe=asdict(self.recipe),
            images_seen=self.study.images_seen,
            train_images=len(train_images),
            eval_images=len(eval_images),
            synthetic=self.synthetic,
            trials=tuple(_result(self.oracle.trials[key]) for key in sorted(self.oracle.trials)),
        )

    def _train(
        self, recipe: TrainConfig, images: tuple[Inputs, Inputs], folder: Path
    ) -> list[Point]:
        if recipe.cached_views:
            _share_features(folder, self.images.folder, recipe)
        keras.backend.clear_session()
        keras.utils.set_random_seed(recipe.seed)
        with training_devices(recipe):
            network = build_network(recipe, len(self.classes))
            history = train(network, *images, self.classes, recipe, folder, folder / "logs")
        steps = count_steps(recipe, len(images[0]))
        return [
            Point(
                images=min((i + 1) * steps.epoch, steps.total) * steps.batch,
                eval_loss=logs["val_loss"],
                eval_auc=logs["val_auc"],
            )
            for i, logs in enumerate(history)
        ]


def _share_features(folder: Path, shared: Path, recipe: TrainConfig) -> None:
    """Lets trials with the same frozen part, seed and augmentation store their features once."""
    relevant = {k: v for k, v in asdict(recipe).items() if k not in _OF_HEAD_ONLY}
    key = hashlib.sha256(json.dumps(relevant, sort_keys=True).encode()).hexdigest()[:16]
    target = shared / f"features-{key}"
    target.mkdir(exist_ok=True)
    folder.mkdir(parents=True, exist_ok=True)
    if not (folder / "features").is_symlink():
        (folder / "features").symlink_to(os.path.relpath(target, folder))


def _result(trial: Trial) -> TrialResult:
    def history(name: str) -> list[Any]:
        return trial.metrics.get_history(name) if trial.metrics.exists(name) else []

    curve = tuple(
        Point(images=loss.step, eval_loss=float(loss.mean()), eval_auc=float(auc.mean()))
        for loss, auc in zip(history("curve_loss"), history("curve_auc"), strict=True)
    )
    failed = trial.status != TrialStatus.COMPLETED
    seconds = history("seconds")
    return TrialResult(
        values=trial.hyperparameters.values,
        curve=() if failed else curve,
        seconds=float(seconds[0].mean()) if seconds else None,
        # KerasTuner keeps the whole traceback; its last line is the exception.
        failure=trial.message.strip().splitlines()[-1].partition(": ")[2] if failed else "",
    )


@contextmanager
def _named_in_progress(trial: int, trials: int) -> Iterator[None]:
    """Adds the trial's number to what is reported meanwhile."""

    def add(record: logging.LogRecord) -> bool:
        vars(record)["unit"] = f"{progress_of(record).unit}, trial {trial}/{trials}"
        return True

    progress_logger.addFilter(add)
    try:
        yield
    finally:
        progress_logger.removeFilter(add)
