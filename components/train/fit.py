"""Training of one network from stored images."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

from components.train.callbacks import (
    EpochAverage,
    EpochSeeds,
    EvalAuc,
    Progress,
    ResumableStopping,
)
from components.train.features import store_features
from components.train.inputs import (
    augmented_pixels,
    evaluation_batches,
    steps_per_epoch,
    to_pixels,
    training_batches,
)
from components.train.metrics import per_class_auc
from components.train.network import Network
from components.train.recipe import TrainConfig
from components.train.store import Stored
from schema.errors import CxrflowError


@dataclass(frozen=True)
class _Task:
    """A model to fit and what it is fed."""

    model: keras.Model  # -> logits [N, C]
    train: Stored
    eval: Stored
    prepare: Callable[[tf.Tensor, tf.Tensor], tf.Tensor]  # stored training inputs, seed -> inputs
    prepare_eval: Callable[[tf.Tensor], tf.Tensor]
    classes: list[str]


def train(
    network: Network,
    train_images: Stored,
    eval_images: Stored,
    classes: list[str],
    recipe: TrainConfig,
    work_dir: Path,
    log_dir: Path,
) -> list[dict[str, float]]:
    """Trains the network in place and leaves it with the weights of the best epoch.

    Whatever is finished under `work_dir` is not done again, so that a killed run goes on after its
    last epoch. TensorBoard logs go to `log_dir`. Returns the metrics of each epoch. Raises
    CxrflowError where nothing can be learnt from the data or training diverges.
    """
    if np.isnan(per_class_auc(eval_images.labels, eval_images.labels)).all():
        raise CxrflowError(
            "no class has both positive and negative images in the eval split, so that no AUC "
            "exists; give more data"
        )
    _set_prior(network.full.get_layer("logits"), train_images.labels)
    task = _task(network, train_images, eval_images, classes, recipe, work_dir)
    if recipe.head_epochs and network.tuned:
        head_only = replace(
            recipe,
            epochs=recipe.head_epochs,
            patience=recipe.head_epochs,
            learning_rate=recipe.head_learning_rate,
        )
        for layer in network.tuned:
            layer.trainable = False
        _fit(task, head_only, work_dir / "head", log_dir / "head")
        for layer in network.tuned:
            layer.trainable = True
    return _fit(task, recipe, work_dir / "epochs", log_dir)


def _set_prior(output: keras.layers.Dense, labels: np.ndarray) -> None:
    """Starts each class at its prevalence, with one image's worth of doubt for absent ones."""
    prevalence = (labels.sum(axis=0) + 0.5) / (len(labels) + 1)
    output.bias.assign(np.log(prevalence / (1 - prevalence)))


def _task(
    network: Network,
    train_images: Stored,
    eval_images: Stored,
    classes: list[str],
    recipe: TrainConfig,
    work_dir: Path,
) -> _Task:
    """The whole network on images, or its trained part on stored features of the frozen one."""
    if network.frozen is None or not recipe.cached_views:
        return _Task(
            network.classifier,
            train_images,
            eval_images,
            lambda images, seed: augmented_pixels(images, seed, recipe),
            to_pixels,
            classes,
        )
    features = [
        store_features(work_dir / "features" / name, network.frozen, images, recipe, views)
        for name, images, views in (
            ("train", train_images, recipe.cached_views),
            ("eval", eval_images, 1),
        )
    ]
    return _Task(
        network.tail,
        *features,
        lambda inputs, seed: tf.cast(inputs, tf.float32),
        lambda inputs: tf.cast(inputs, tf.float32),
        classes,
    )


def _fit(task: _Task, recipe: TrainConfig, work_dir: Path, log_dir: Path) -> list[dict[str, float]]:
    """Fits the task's model, going on where an earlier call was killed; restores the best epoch."""
    model = task.model
    steps = steps_per_epoch(len(task.train), recipe.batch_size)
    model.compile(
        optimizer=_optimizer(recipe, steps),
        loss=keras.losses.BinaryCrossentropy(
            from_logits=True, label_smoothing=recipe.label_smoothing
        ),
        metrics=[
            keras.metrics.AUC(
                multi_label=True, num_labels=len(task.classes), from_logits=True, name="auc"
            )
        ],
        # Keras would use XLA, whose compilation takes minutes and gigabytes on a CPU.
        jit_compile=bool(tf.config.list_physical_devices("GPU")),
    )
    stopping = ResumableStopping(work_dir, recipe.patience, recipe.epochs)
    first_epoch = stopping.resume(model)
    averaging = [EpochAverage(resumed=first_epoch > 0)] if recipe.ema else []
    if not stopping.finished:
        eval_batches = evaluation_batches(task.eval, recipe.batch_size, task.prepare_eval)
        model.fit(
            training_batches(task.train, recipe, first_epoch, task.prepare),
            initial_epoch=first_epoch,
            epochs=recipe.epochs,
            steps_per_epoch=steps,
            shuffle=False,  # the batches are shuffled already
            verbose=0,
            callbacks=[
                EpochSeeds(recipe.seed),
                *averaging,
                EvalAuc(eval_batches, task.eval.labels, task.classes),
                keras.callbacks.TensorBoard(log_dir, write_graph=False),
                Progress(recipe.epochs, steps),
                stopping,
            ],
        )
    stopping.restore_best(model)
    return stopping.history


def _optimizer(recipe: TrainConfig, steps: int) -> keras.optimizers.Optimizer:
    total = recipe.epochs * steps
    rising = int(recipe.warmup * total)
    schedule = keras.optimizers.schedules.CosineDecay(
        initial_learning_rate=0.0 if rising else recipe.learning_rate,
        decay_steps=total - rising,
        alpha=0.0 if recipe.schedule == "cosine" else 1.0,  # the share that is left at the end
        warmup_target=recipe.learning_rate if rising else None,
        warmup_steps=rising,
    )
    options = {
        "learning_rate": schedule,
        "weight_decay": recipe.weight_decay or None,
        "use_ema": recipe.ema > 0,
        "ema_momentum": recipe.ema,
    }
    if recipe.optimizer == "sgd":
        optimizer = keras.optimizers.SGD(momentum=0.9, **options)
    else:
        optimizer = keras.optimizers.Adam(**options)
    if recipe.weight_decay:
        optimizer.exclude_from_weight_decay(var_names=["bias", "gamma", "beta"])
    return optimizer
