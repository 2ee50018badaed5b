"""Trains on stored images unbroken and killed on the way, as `python -m` with IMAGES OUT.

Prints a digest of each result's weights. In a process of its own, as it makes all of TensorFlow
deterministic. A kill is an exception that nothing in the code catches or cleans up after.
"""

import hashlib
import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest import mock

os.environ["TF_USE_LEGACY_KERAS"] = "0"

import keras

from cxrflow.components.model.network import build_network
from cxrflow.components.train import callbacks, features, store
from cxrflow.components.train.devices import training_devices
from cxrflow.components.train.fit import train
from tests.support import tiny_training as tiny

RECIPE = tiny.recipe(
    deterministic=True,
    finetune_from="conv1",
    cached_views=2,
    head_epochs=2,
    batch_size=8,
    accumulation_steps=2,
    images_seen=208,  # 8 batches an epoch: three epochs and two batches
    optimizer="adamw",
    weight_decay=0.01,
    layer_decay=0.5,
    schedule="cosine",
    warmup=0.2,
    ema=0.9,
    loss="wcel",
    label_smoothing=0.1,
    rotation=10,
)


class Killed(BaseException):
    """The end, at once."""


def at(owner: Any, name: str, call: int, first: Callable | None = None) -> Any:
    """Kills when `owner.name` is called for the nth time, after `first` was done."""
    original, calls = getattr(owner, name), []

    def killer(*args: Any) -> Any:
        calls.append(args)
        if len(calls) < call:
            return original(*args)
        if first:
            first(original, *args)
        raise Killed

    return mock.patch.object(owner, name, killer)


def half(save: Callable, model: keras.Model, path: Path) -> None:
    """A checkpoint of which only half is written."""
    save(model, path)
    os.truncate(path, path.stat().st_size // 2)


# Each training goes on where the one before was killed.
MOMENTS = {
    "storing features": lambda: at(features, "report", 2),
    "the head's second epoch": lambda: at(callbacks, "report", 11),
    "writing the first checkpoint of all layers": lambda: at(keras.Model, "save_weights", 2, half),
    "the second epoch of all layers": lambda: at(callbacks, "report", 12),
}


def fit(images: Path, folder: Path) -> str:
    """Trains to the end; the weights' digest."""
    keras.utils.set_random_seed(RECIPE.seed)
    splits = [store.read(images / split) for split in ("train", "eval")]
    with training_devices(RECIPE):
        network = build_network(RECIPE, 3)
        train(network, *splits, tiny.CLASSES, RECIPE, folder, folder / "logs")
    return hashlib.sha256(b"".join(w.tobytes() for w in network.full.get_weights())).hexdigest()


def main(images: Path, out: Path) -> dict[str, Any]:
    """Digests by name, and the epochs that were finished at each kill."""
    found: dict[str, Any] = {"once": fit(images, out / "once"), "finished": {}}
    for moment, kill in MOMENTS.items():
        with kill():
            try:
                fit(images, out / "killed")
            except Killed:
                states = out.glob("killed/*/state.json")
                found["finished"][moment] = {
                    path.parent.name: len(json.loads(path.read_text())) for path in sorted(states)
                }
    found["killed"] = fit(images, out / "killed")
    return found


if __name__ == "__main__":
    keras.applications.mobilenet.MobileNet = tiny.tiny_backbone
    print(json.dumps(main(Path(sys.argv[1]), Path(sys.argv[2]))))
