"""Trains on one device and mirrored on two virtual CPUs, as `python -m` with IMAGES OUT.

Prints how far the two results lie apart. In a process of its own, as TensorFlow takes its devices
before anything else.
"""

import json
import os
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

os.environ["TF_USE_LEGACY_KERAS"] = "0"

import keras
import numpy as np
import tensorflow as tf

from cxrflow.components.model.network import build_network
from cxrflow.components.model.recipe import TrainConfig
from cxrflow.components.train import store
from cxrflow.components.train.devices import in_float32, training_devices
from cxrflow.components.train.fit import train
from tests.support import tiny_training as tiny

# Batch norm and dropout see half a batch on each device: without them both sides are equal.
RECIPE = tiny.recipe(
    head="simple", batch_norm="frozen", dropout=0.0, epochs=2, ema=0.5, layer_decay=0.5
)


def fit(recipe: TrainConfig, devices: list[str], images: Path, folder: Path) -> tuple[Any, Any]:
    """The exported model, and the last epoch's eval AUC."""
    keras.utils.set_random_seed(0)
    splits = [store.read(images / split) for split in ("train", "eval")]
    # 17 = 16 + 1: there is one image in the last batch.
    splits[1] = replace(splits[1], labels=splits[1].labels[:17])
    with training_devices(recipe, devices):
        network = build_network(recipe, 3)
        history = train(network, *splits, tiny.CLASSES, recipe, folder, folder / "logs")
    assert network.full.distribute_strategy.num_replicas_in_sync == len(devices)
    return in_float32(network.full), history[-1]["val_auc"]


def main(images: Path, out: Path) -> dict[str, Any]:
    """Largest difference of a weight and of an output, and the AUCs."""
    both = ["CPU:0", "CPU:1"]
    one, one_auc = fit(RECIPE, both[:1], images, out / "one")
    two, two_auc = fit(RECIPE, both, images, out / "two")
    mixed, _ = fit(replace(RECIPE, precision="mixed_float16"), both, images, out / "mixed")
    pixels = np.random.default_rng(0).uniform(0, 255, (3, 64, 64, 3)).astype(np.float32)
    scores = [model(pixels)["logits"].numpy() for model in (one, two, mixed)]
    weights = zip(one.get_weights(), two.get_weights(), strict=True)
    return {
        "weights": float(max(np.abs(a - b).max() for a, b in weights)),
        "aucs": [one_auc, two_auc],
        "mixed": float(np.abs(scores[0] - scores[2]).max()),
        "dtypes": sorted({score.dtype.name for score in scores}),
    }


if __name__ == "__main__":
    cpu = tf.config.list_physical_devices("CPU")[0]
    tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
    keras.applications.mobilenet.MobileNet = tiny.tiny_backbone
    print(json.dumps(main(Path(sys.argv[1]), Path(sys.argv[2]))))
