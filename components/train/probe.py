"""Fits a probe: the network's linear layer, from images."""

import logging
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from cxrflow.components.images.pixels import to_pixels
from cxrflow.components.model.folds import FOLDS
from cxrflow.components.model.heads import UNUSUAL
from cxrflow.components.model.network import Network
from cxrflow.components.model.probe import Probe, fit_probe
from cxrflow.components.model.recipe import TrainConfig
from cxrflow.components.train.features import store_features
from cxrflow.components.train.source import Inputs
from cxrflow.components.train.splits import Images

logger = logging.getLogger(__name__)

_BATCH = 16
_USUAL_IMAGES = 200  # enough for a mean


def train_probe(
    network: Network, recipe: TrainConfig, train: Images, eval_: Images, folds: int, folder: Path
) -> Probe:
    """Fits the network's linear layer in place: to train, or to train and eval with folds.

    Features are stored in `folder`, so that a killed run doesn't compute them again. The probe's
    `out_of_fold` has the rows of train, then those of eval where it was cross-fitted.
    """
    splits = [("train", train), *([("eval", eval_)] if folds else [])]
    features, labels, patients = [], [], []
    for name, images in splits:
        stored = store_features(folder / name, network.frozen, images.inputs, recipe, views=1)
        features.append(stored.take(range(len(stored))).astype(np.float32))
        labels.append(stored.labels)
        patients.append(images.patient_id)
    probe = fit_probe(
        np.concatenate(features),
        np.concatenate(labels),
        np.concatenate(patients),
        folds=folds or FOLDS,  # to choose the strength, at least
        second_level=recipe.second_level,
    )
    output: Any = network.full.get_layer("logits")
    output.set_weights([probe.kernel, probe.bias])
    _set_usual(network, train.inputs)
    logger.info("the probe's strength of regularisation, C: %g", probe.strength)
    return probe


def _set_usual(network: Network, images: Inputs) -> None:
    """Tells the attention map what is usual at each place, from training images."""
    unusual: Any = network.full.get_layer(UNUSUAL)
    local = keras.Model(network.full.inputs[0], unusual.input)
    forward = tf.function(lambda pixels: local(pixels, training=False), reduce_retracing=True)
    count = min(len(images), _USUAL_IMAGES)
    rows = np.linspace(0, len(images) - 1, count).round().astype(int)
    total: Any = 0.0
    for start in range(0, count, _BATCH):
        found = forward(to_pixels(images.take(rows[start : start + _BATCH])))
        total = total + found.numpy().sum(axis=0, dtype=np.float64)
    mean = total / count
    unusual.usual.assign(mean - mean.mean(axis=(0, 1)))
