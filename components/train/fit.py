"""Training of one network from stored images."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

from cxrflow.components.images.pixels import to_pixels
from cxrflow.components.model.metrics import per_class_auc
from cxrflow.components.model.network import Network
from cxrflow.components.model.recipe import TrainConfig
from cxrflow.components.train.callbacks import (
    EpochAverage,
    EpochSeeds,
    EvalAuc,
    Progress,
    ResumableStopping,
)
from cxrflow.components.train.features import store_features
from cxrflow.components.train.inputs import (
    Steps,
    augmented_pixels,
    count_steps,
    evaluation_batches,
    training_batches,
)
from cxrflow.components.train.losses import make_loss
from cxrflow.components.train.memory import kept
from cxrflow.components.train.optimizers import make_optimizer
from cxrflow.components.train.source import Inputs
from cxrflow.schema.errors import CxrflowError


@dataclass(frozen=True)
class _Task:
    """A model to fit and what it is fed."""

    model: keras.Model  # -> logits [N, C]
    train: Inputs
    eval: Inputs
    prepare: Callable[[tf.Tensor, tf.Tensor], tf.Tensor]  # stored training inputs, seed -> inputs
    prepare_eval: Callable[[tf.Tensor], tf.Tensor]
    classes: list[str]
    tuned: list[keras.Layer]  # of the backbone, trained


def train(
    network: Network,
    train_images: Inputs,
    eval_images: Inputs,
    classes: list[str],
    recipe: TrainConfig,
    work_dir: Path,
    log_dir: Path,
) -> list[dict[str, float]]:
    """Trains the network in place and leaves it with the weights of the best epoch.

    Whatever is finished under `work_dir` is not done again, so that a killed run goes on after its
    last epoch. It ends as an unbroken one: with the same bits if the recipe is deterministic, else
    with probabilities within .01, as sums are not always taken in the same order. TensorBoard logs
    go to `log_dir`. Returns the metrics of each epoch. Raises CxrflowError where nothing can be
    learnt from the data or training diverges.
    """
    if np.isnan(per_class_auc(eval_images.labels, eval_images.labels)).all():
        raise CxrflowError(
            "no class has both positive and negative images in the eval split, so that no AUC "
            "exists; give more data"
        )
    _set_prior(network.full.get_layer("logits"), train_images.labels, recipe)
    task = _task(network, train_images, eval_images, classes, recipe, work_dir)
    if recipe.head_epochs and network.tuned:
        head_only = replace(
            recipe,
            epochs=recipe.head_epochs,
            patience=recipe.head_epochs,
            images_seen=0,
            learning_rate=recipe.head_learning_rate,
        )
        for layer in network.tuned:
            layer.trainable = False
        _fit(task, head_only, work_dir / "head", log_dir / "head")
        for layer in network.tuned:
            layer.trainable = True
    return _fit(task, recipe, work_dir / "epochs", log_dir)


def _set_prior(output: keras.layers.Layer, labels: np.ndarray, recipe: TrainConfig) -> None:
    """Starts each class at its prevalence among known labels as the loss weighs it.

    Absent classes get one image's worth of doubt.
    """
    known = (~np.isnan(labels)).sum(axis=0)
    prevalence = (np.nansum(labels, axis=0) + 0.5) / (known + 1)
    loss = make_loss(recipe, labels)
    odds = prevalence / (1 - prevalence) * loss.positive / loss.negative
    output.bias.assign(np.log(odds))


def _task(
    network: Network,
    train_images: Inputs,
    eval_images: Inputs,
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
            partial(augmented_pixels, recipe=recipe),
            to_pixels,
            classes,
            network.tuned,
        )
    train_features, eval_features = (
        store_features(work_dir / "features" / name, network.frozen, images, recipe, views)
        for name, images, views in (
            ("train", train_images, recipe.cached_views),
            ("eval", eval_images, 1),
        )
    )
    train_features = replace(train_features, soft=train_images.soft)
    return _Task(
        network.tail,
        train_features,
        eval_features,
        _as_stored,
        _as_stored,
        classes,
        network.tuned,
    )


def _as_stored(inputs: tf.Tensor, seed: tf.Tensor | None = None) -> tf.Tensor:
    return tf.cast(inputs, tf.float32)


def compile_model(
    model: keras.Model,
    recipe: TrainConfig,
    labels: np.ndarray,
    tuned: list[keras.Layer],
    hard: bool = True,
) -> Steps:
    """Gives the model its loss and optimizer; returns the steps that these count on.

    labels: k-hot [N, C] of the training split; tuned: the backbone's trained layers in order;
    hard: labels are learned as they are and known, so that the training images have an AUC.
    """
    steps = count_steps(recipe, len(labels))
    gpus = tf.config.list_physical_devices("GPU")
    model.compile(
        optimizer=make_optimizer(recipe, steps.total, model, tuned),
        loss=make_loss(recipe, labels),
        metrics=[
            keras.metrics.AUC(
                multi_label=True, num_labels=labels.shape[1], from_logits=True, name="auc"
            )
        ]
        if hard
        else [],
        # Keras would use XLA, whose compilation takes minutes and gigabytes on a CPU.
        jit_compile=bool(gpus) and model.distribute_strategy.num_replicas_in_sync == 1,
    )
    # Variables that the first traced step makes have it traced once more.
    model.optimizer.build(model.trainable_variables)
    return steps


def _fit(task: _Task, recipe: TrainConfig, work_dir: Path, log_dir: Path) -> list[dict[str, float]]:
    """Fits the task's model, going on where an earlier call was killed; restores the best epoch."""
    model = task.model
    # Keras's AUC takes no mask of single labels.
    hard = task.train.soft is None and not np.isnan(task.train.labels).any()
    steps = compile_model(model, recipe, task.train.labels, task.tuned, hard)
    stopping = ResumableStopping(work_dir, recipe.patience, steps.epochs)
    first_epoch = stopping.resume(model)
    averaging = [EpochAverage(resumed=first_epoch > 0)] if recipe.ema else []
    if not stopping.finished:
        eval_batches = evaluation_batches(task.eval, recipe.batch_size, task.prepare_eval)
        with kept():
            model.fit(
                training_batches(task.train, recipe, first_epoch, task.prepare),
                initial_epoch=first_epoch,
                epochs=steps.epochs,
                steps_per_epoch=steps.epoch,
                shuffle=False,  # the batches are shuffled already
                verbose=0,
                callbacks=[
                    EpochSeeds(recipe.seed),
                    *averaging,
                    EvalAuc(eval_batches, task.eval.labels, task.classes),
                    keras.callbacks.TensorBoard(log_dir, write_graph=False),
                    Progress(steps),
                    stopping,
                ],
            )
    stopping.restore_best(model)
    return stopping.history
