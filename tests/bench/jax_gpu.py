"""The networks of the profile `nih` on a GPU under Keras's JAX backend, without TensorFlow.

What it shows: each backbone with its head, in mixed precision, at the recipe's size and batch, with
the project's optimizer (schedule, accumulation, EMA, rates by layer), fits into memory and learns
32 real X-rays by heart, and how long a step takes. What it doesn't: reading, augmentation, XLA
under TensorFlow, several GPUs.

    python -m tests.bench.jax_gpu pack DIR    # here: X-rays and recipes into DIR
    python -m tests.bench.jax_gpu run DIR     # where JAX, Keras and a GPU are: a line a recipe
"""

import dataclasses
import json
import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np

STEPS = 240  # batches, two an epoch
TIMED = 100  # the last ones
_BY_HEART = {
    **{"weights": "none", "dropout": 0.0, "batch_norm": "train", "bn_momentum": 0.9},
    **{"accumulation_steps": 2, "ema": 0.9, "epochs": STEPS // 2, "head_epochs": 0},
}


def pack(folder: Path) -> None:
    """Writes what `run` needs: 32 X-rays of as many patients, k-hot labels, and the recipes."""
    import tensorflow as tf

    from cxrflow.pipeline import config
    from tests.bench.figure import SHARED
    from tests.components.train.test_train_proofs import some_xrays

    xrays = some_xrays(SHARED, 32)
    size = config.load("nih").train.image_size
    pixels = [tf.image.resize(tf.io.decode_png(png, 1), (size, size)) for png, _ in xrays]
    folder.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(
        folder / "xrays.npz",
        pixels=tf.cast(pixels, tf.uint8).numpy(),
        labels=np.array([labels for _, labels in xrays], np.float32),
    )
    members = config.load("nih").members.items()
    recipes = {name: dataclasses.asdict(recipe) for name, recipe in members}
    (folder / "recipes.json").write_text(json.dumps(recipes))


def run(folder: Path) -> Iterator[dict[str, Any]]:
    """Yields a figure for each recipe."""
    without_tensorflow()
    from cxrflow.components.model.recipe import TrainConfig

    recipes = json.loads((folder / "recipes.json").read_text())
    stored = np.load(folder / "xrays.npz")
    pixels = np.repeat(stored["pixels"].astype(np.float32), 3, axis=3)
    for name, fields in recipes.items():
        yield one(name, TrainConfig(**fields | _BY_HEART), pixels, stored["labels"])


def without_tensorflow() -> None:
    """Has Keras compute by JAX; TensorFlow is a stand-in of which nothing is computed."""
    os.environ["KERAS_BACKEND"] = "jax"
    import keras

    tensorflow = mock.MagicMock()
    tensorflow.cast = keras.ops.cast
    sys.modules["tensorflow"] = tensorflow
    sys.modules["cxrflow.components.private_api"] = mock.MagicMock()  # imports half of TFX


def one(name: str, recipe: Any, pixels: np.ndarray, labels: np.ndarray) -> dict[str, Any]:
    """One recipe: time of a step, memory, and how well it knows the X-rays at the end."""
    import jax
    import keras

    from cxrflow.components.model.network import build_network
    from cxrflow.components.model.precision import dtype_policy
    from cxrflow.components.train.optimizers import make_optimizer

    keras.utils.set_random_seed(recipe.seed)
    with dtype_policy("mixed_bfloat16"):
        network = build_network(recipe, labels.shape[1])
    model = network.classifier
    model.compile(
        optimizer=make_optimizer(recipe, STEPS, model, network.tuned),
        loss=keras.losses.BinaryCrossentropy(from_logits=True),
        jit_compile=True,
    )
    ends: list[float] = []
    losses: list[float] = []

    def ended(_: int, logs: dict[str, float]) -> None:
        losses.append(float(logs["loss"]))
        ends.append(time.perf_counter())

    epochs = STEPS * recipe.batch_size // len(pixels)
    started = time.perf_counter()
    model.fit(
        pixels,
        labels,
        batch_size=recipe.batch_size,
        epochs=epochs,
        verbose=0,
        callbacks=[keras.callbacks.LambdaCallback(on_epoch_end=ended)],
    )
    per_epoch = STEPS // epochs
    timed = TIMED // per_epoch
    seconds = (ends[-1] - ends[-1 - timed]) / (timed * per_epoch)
    model.optimizer.finalize_variable_values(model.trainable_variables)  # EMA
    scores = np.asarray(model.predict(pixels, batch_size=recipe.batch_size, verbose=0))
    memory = jax.devices()[0].memory_stats() or {}
    return {
        "recipe": name,
        "device": jax.devices()[0].device_kind,
        "side": recipe.image_size,
        "batch": recipe.batch_size,
        "images_per_second": round(recipe.batch_size / seconds, 1),
        "peak_gb_so_far": round(memory.get("peak_bytes_in_use", 0) / 1e9, 2),
        "first_epoch_s": round(ends[0] - started, 1),
        "loss": [round(losses[0], 3), round(losses[-1], 4)],
        "min_auc": round(min(_auc(labels[:, c], scores[:, c]) for c in range(labels.shape[1])), 4),
    }


def _auc(truth: np.ndarray, score: np.ndarray) -> float:
    from sklearn.metrics import roc_auc_score

    return float(roc_auc_score(truth, score))


if __name__ == "__main__":
    verb, where = sys.argv[1:]
    if verb == "pack":
        pack(Path(where))
    else:
        for each in run(Path(where)):
            print(json.dumps(each), flush=True)
