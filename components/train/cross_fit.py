"""Trains a network for each fold of patients; together they are one model, their mean."""

from collections.abc import Sequence
from pathlib import Path

import keras
import numpy as np

from cxrflow.components.model.folds import FOLDS, patient_folds
from cxrflow.components.model.network import build_network
from cxrflow.components.model.recipe import TrainConfig
from cxrflow.components.model.test_time import with_views
from cxrflow.components.train.devices import in_float32, training_devices
from cxrflow.components.train.fit import train
from cxrflow.components.train.predict import predict_logits
from cxrflow.components.train.source import Inputs, chosen


def cross_fit(
    recipe: TrainConfig,
    splits: Sequence[Inputs],
    patients: np.ndarray,
    classes: list[str],
    folds: int,
    work_dir: Path,
    log_dir: Path,
) -> tuple[keras.Model, np.ndarray]:
    """Trains `folds` networks, each on the other folds: on four fifths of their patients, stopped
    early by the last fifth, so that the fold's own patients have chosen nothing of it.

    Args:
        recipe: of each of them.
        splits: images of train and eval.
        patients: whose they are, in that order, text [N].
        classes: C names.
        folds: how many.
        work_dir: holds what a killed run has finished; see `fit.train`.
        log_dir: of TensorBoard's curves, a folder a fold.

    Returns:
        The mean of the networks, float32, as `network.Network.full`; and logits [N, C], each
        image's by the network that has seen nothing of its patient.
    """
    logits = np.empty((len(patients), len(classes)), np.float32)
    networks = []
    labels = np.concatenate([split.labels for split in splits])
    for number, (others, held_out) in enumerate(patient_folds(patients, labels, folds)):
        fold = f"fold_{number}"
        within = list(patient_folds(patients[others], labels[others], FOLDS))
        learned, watched = within[number % len(within)]
        known, stopping, new = (
            chosen(splits, rows) for rows in (others[learned], others[watched], held_out)
        )
        keras.utils.set_random_seed(recipe.seed)  # a resumed run begins later folds alike
        with training_devices(recipe):
            network = build_network(recipe, len(classes))
            train(network, known, stopping, classes, recipe, work_dir / fold, log_dir / fold)
        model = in_float32(network.full)
        logits[held_out] = _logits(model, new, recipe)
        networks.append(keras.Model(model.inputs[0], model.output, name=fold))
    return _mean(networks), logits


def _logits(model: keras.Model, images: Inputs, recipe: TrainConfig) -> np.ndarray:
    forward = with_views(lambda pixels: model(pixels, training=False), recipe.test_time_views)
    return predict_logits(forward, images)


def _mean(networks: Sequence[keras.Model]) -> keras.Model:
    """Mean logits and mean attention."""
    pixels = keras.Input(networks[0].inputs[0].shape[1:], name="image")
    outputs = [network(pixels) for network in networks]
    mean = {
        name: keras.ops.mean(keras.ops.stack([found[name] for found in outputs]), axis=0)
        for name in outputs[0]
    }
    return keras.Model(pixels, mean)
