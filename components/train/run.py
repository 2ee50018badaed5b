"""The entry point that TFX's Trainer calls."""

import hashlib
import json
import logging
import shutil
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from cxrflow.components.model.assets import write_assets
from cxrflow.components.model.calibration import calibrate
from cxrflow.components.model.folds import cross_fit_folds, require_cases, require_patients
from cxrflow.components.model.network import build_network
from cxrflow.components.model.out_of_fold import OutOfFold, write_out_of_fold
from cxrflow.components.model.recipe import TrainConfig
from cxrflow.components.model.settings import OutOfDistributionConfig
from cxrflow.components.model.signatures import export
from cxrflow.components.model.test_time import Network, with_views
from cxrflow.components.model.thresholds import class_thresholds
from cxrflow.components.resume import clear_when_safe
from cxrflow.components.train import out_of_distribution
from cxrflow.components.train.board import write_board
from cxrflow.components.train.cross_fit import cross_fit
from cxrflow.components.train.devices import in_float32, training_devices
from cxrflow.components.train.distill import taught
from cxrflow.components.train.fit import train
from cxrflow.components.train.predict import predict_logits
from cxrflow.components.train.probe import train_probe
from cxrflow.components.train.splits import Images, open_splits
from cxrflow.schema.errors import CxrflowError
from cxrflow.schema.model_json import CompactFormat, Member, ModelJson

logger = logging.getLogger(__name__)


def run_fn(fn_args: Any) -> None:
    """Trains and exports one model; `fn_args` is TFX's FnArgs.

    custom_config: `name` (the model's), `train` (fields of TrainConfig), `transform` (image_size,
    encoding, jpeg_quality), `classes` (in order), `calibrate` (method, sensitivity, specificity),
    `out_of_distribution` (fields of OutOfDistributionConfig), `data_version`, `split` (what decided
    which images are test), `code_version`, `weights` (`weights.weights_fingerprint`, read by the
    cache alone), `synthetic` (True where the images are phantoms), of a student `teacher` (its
    name) and `soft_share` (of the teacher's word in what is learned; `fn_args.base_model` is the
    teacher), `work_dir` (this trainer's own folder, where a killed training's state waits for the
    next call; removed after success).
    """
    require_keras_3()
    config = fn_args.custom_config
    recipe = TrainConfig(**config["train"])
    compact = CompactFormat(**config["transform"])
    classes = list(config["classes"])
    # Weights from random initializers, dropout and whatever else isn't seeded by epoch.
    keras.utils.set_random_seed(recipe.seed)

    work_dir = own_folder(Path(config["work_dir"]), fingerprint(fn_args))
    known, new = open_splits(fn_args, compact, recipe.image_size, recipe.input, work_dir / "images")
    train_images, eval_images = known.inputs, new.inputs
    fit = _fit_probe if recipe.head == "probe" else _train
    if fn_args.base_model:
        teacher = Path(fn_args.base_model)
        known = taught(known, fn_args.train_files, teacher, config["soft_share"])
    forward, judged = fit(fn_args, recipe, known, new, work_dir)
    calibration = calibrate(config["calibrate"]["method"], judged.logits, judged.labels)
    probabilities = calibration.apply(judged.logits)
    saved_model = Path(fn_args.serving_model_dir)
    detector, unlike_training = out_of_distribution.fit(
        train_images, eval_images, OutOfDistributionConfig(**config["out_of_distribution"])
    )
    export(forward, calibration, compact, recipe.image_size, saved_model, detector)
    write_assets(
        saved_model,
        ModelJson(
            name=config["name"],
            classes=tuple(classes),
            image_size=recipe.image_size,
            compact=compact,
            members=(Member(config["name"], recipe.backbone, recipe.head, 1.0),),
            calibration=calibration.to_json(classes),
            thresholds=class_thresholds(
                classes,
                judged.labels,
                probabilities,
                config["calibrate"]["sensitivity"],
                config["calibrate"]["specificity"],
            ),
            out_of_distribution=unlike_training,
            taught_by=config.get("teacher", ""),
            data=config["data_version"],
            split=config["split"],
            code=config["code_version"],
            synthetic=config["synthetic"],
        ),
        detector,
    )
    if judged.ids:
        image_id, patient_id = judged.ids
        scores = OutOfFold(image_id, patient_id, judged.labels, judged.logits, probabilities)
        write_out_of_fold(saved_model, scores)
    write_board(
        Path(fn_args.model_run_dir),
        forward,
        recipe,
        classes,
        train_images,
        eval_images,
        judged.logits[-len(eval_images) :],
        calibration,
    )
    clear_when_safe(partial(shutil.rmtree, work_dir))


@dataclass(frozen=True)
class _Judged:
    """What a model is calibrated on: eval, or with cross-fitting train and then eval."""

    labels: np.ndarray  # [N, C], k-hot
    logits: np.ndarray  # [N, C], none by a model that has learned from the image's patient
    ids: tuple[np.ndarray, ...] = ()  # of images and patients, text [N]; of a cross-fitted model


# The network as it is exported, and what it is judged by.
_Fitted = tuple[Network, _Judged]


def _train(
    fn_args: Any, recipe: TrainConfig, train_images: Images, eval_images: Images, work_dir: Path
) -> _Fitted:
    classes = list(fn_args.custom_config["classes"])
    log_dir = Path(fn_args.model_run_dir)
    known, new = train_images.inputs, eval_images.inputs
    ids, labels, folds = _folds(recipe, train_images, eval_images, classes)
    if folds:
        model, logits = cross_fit(
            recipe, (known, new), ids[1], classes, folds, work_dir / "folds", log_dir
        )
        judged = _Judged(labels, logits, ids)
    else:
        with training_devices(recipe):
            network = build_network(recipe, len(classes))
            train(network, known, new, classes, recipe, work_dir, log_dir)
        model = in_float32(network.full)
    forward = with_views(lambda pixels: model(pixels, training=False), recipe.test_time_views)
    if not folds:
        judged = _Judged(new.labels, predict_logits(forward, new))
    return forward, judged


def _fit_probe(
    fn_args: Any, recipe: TrainConfig, train_images: Images, eval_images: Images, work_dir: Path
) -> _Fitted:
    classes = list(fn_args.custom_config["classes"])
    ids, labels, folds = _folds(recipe, train_images, eval_images, classes)
    network = build_network(recipe, len(classes))
    probe = train_probe(network, recipe, train_images, eval_images, folds, work_dir / "features")

    def forward(pixels: tf.Tensor) -> dict[str, tf.Tensor]:
        return network.full(pixels, training=False)

    if folds:
        return forward, _Judged(labels, probe.out_of_fold, ids)
    new = eval_images.inputs
    return forward, _Judged(new.labels, predict_logits(forward, new))


def _folds(
    recipe: TrainConfig, train_images: Images, eval_images: Images, classes: list[str]
) -> tuple[tuple[np.ndarray, ...], np.ndarray, int]:
    """Ids and labels of train and eval, and into how many folds they are divided, or 0."""
    both = (train_images, eval_images)
    ids = tuple(np.concatenate(column) for column in zip(*(x.ids for x in both), strict=True))
    labels = np.concatenate([x.inputs.labels for x in both])
    folds = cross_fit_folds(recipe.cross_fit, len(labels))
    if folds:
        cases = {
            name: len(np.unique(ids[1][column > 0]))
            for name, column in zip(classes, labels.T, strict=True)
        }
        require_patients(cases, folds)
        require_cases(ids[1], labels, classes, folds)
    return ids, labels, folds


def own_folder(parent: Path, fingerprint: str) -> Path:
    """This training's own folder; what killed trainings with other settings left is removed."""
    folder = parent / f"training-{fingerprint}"
    for leftover in set(parent.glob("training-*")) - {folder}:
        shutil.rmtree(leftover)
    return folder


def require_keras_3() -> None:
    """Looks whether Keras is 3: importing TFX can turn it into 2, which trains other models.

    Raises:
        CxrflowError: it isn't, or doesn't run on TensorFlow.
    """
    if not keras.__version__.startswith("3.") or keras.backend.backend() != "tensorflow":
        raise CxrflowError(
            f"Keras 3 on TensorFlow is needed, this is {keras.__version__} on "
            f"{keras.backend.backend()}; unset KERAS_BACKEND and set TF_USE_LEGACY_KERAS=0"
        )


def fingerprint(fn_args: Any) -> str:
    """A name for this very training: settings, code and the files it reads.

    A training goes on whether its images are stored or streamed: either gives the same.
    """
    config = {k: v for k, v in fn_args.custom_config.items() if k != "work_dir"}
    config["train"] = {k: v for k, v in config["train"].items() if k != "input"}
    files = [
        (path, stat.length, stat.mtime_nsec)
        for pattern in [*fn_args.train_files, *fn_args.eval_files]
        for path in sorted(tf.io.gfile.glob(pattern))
        for stat in [tf.io.gfile.stat(path)]
    ]
    text = json.dumps([config, files, fn_args.base_model], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]
