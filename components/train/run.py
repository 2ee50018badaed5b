"""The entry point that TFX's Trainer calls."""

import hashlib
import json
import logging
import shutil
from pathlib import Path
from typing import Any

import keras
import tensorflow as tf

from components.train import store
from components.train.fit import train
from components.train.inputs import read_transformed
from components.train.model_info import model_info, write_assets
from components.train.network import build_network
from components.train.recipe import TrainConfig
from components.train.signatures import CompactFormat, export
from schema.errors import CxrflowError

logger = logging.getLogger(__name__)


def run_fn(fn_args: Any) -> None:
    """Trains and exports one model; `fn_args` is TFX's FnArgs.

    custom_config: `train` (fields of TrainConfig), `transform` (image_size, encoding,
    jpeg_quality), `classes` (in order), `data_version`, `code_version`, `synthetic` (True where
    the images are phantoms), `work_dir` (this trainer's own folder, where a killed training's state
    waits for the next call; removed after success).
    """
    _require_keras_3()
    config = fn_args.custom_config
    recipe = TrainConfig(**config["train"])
    compact = CompactFormat(**config["transform"])
    classes = list(config["classes"])
    # Weights from random initializers, dropout and whatever else isn't seeded by epoch.
    keras.utils.set_random_seed(recipe.seed)

    work_dir = own_folder(Path(config["work_dir"]), _fingerprint(fn_args))
    train_images, eval_images = (
        store.write(
            work_dir / "images" / split,
            read_transformed(
                patterns, compact.encoding, compact.image_size, recipe.image_size, len(classes)
            ),
        )
        for split, patterns in (("train", fn_args.train_files), ("eval", fn_args.eval_files))
    )
    network = build_network(recipe, len(classes))
    train(
        network,
        train_images,
        eval_images,
        classes,
        recipe,
        work_dir,
        Path(fn_args.model_run_dir),
    )
    saved_model = Path(fn_args.serving_model_dir)
    export(network.full, compact, saved_model)
    write_assets(
        saved_model,
        model_info(
            classes,
            recipe.image_size,
            config["transform"],
            [{"backbone": recipe.backbone, "head": recipe.head, "weight": 1.0}],
            config["data_version"],
            config["code_version"],
            config.get("synthetic", False),
        ),
    )
    shutil.rmtree(work_dir)


def own_folder(parent: Path, fingerprint: str) -> Path:
    """This training's own folder; what killed trainings with other settings left is removed."""
    folder = parent / f"training-{fingerprint}"
    for leftover in set(parent.glob("training-*")) - {folder}:
        shutil.rmtree(leftover)
    return folder


def _require_keras_3() -> None:
    """Importing TFX can turn tf.keras into Keras 2, which would train and save other models."""
    if not keras.__version__.startswith("3.") or keras.backend.backend() != "tensorflow":
        raise CxrflowError(
            f"Keras 3 on TensorFlow is needed, this is {keras.__version__} on "
            f"{keras.backend.backend()}; unset KERAS_BACKEND and set TF_USE_LEGACY_KERAS=0"
        )


def _fingerprint(fn_args: Any) -> str:
    """A name for this very training: settings, code and the files it reads."""
    config = {k: v for k, v in fn_args.custom_config.items() if k != "work_dir"}
    files = [
        (path, stat.length, stat.mtime_nsec)
        for pattern in [*fn_args.train_files, *fn_args.eval_files]
        for path in sorted(tf.io.gfile.glob(pattern))
        for stat in [tf.io.gfile.stat(path)]
    ]
    text = json.dumps([config, files], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]
