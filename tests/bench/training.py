"""What feeds a training: the input pipeline against a training step, stored against new features.

Both sides of a ratio are measured in turn in one process, on synthetic noise of NIH images' size
and with untrained weights, which change no time. MobileNet 1.0, 224 pixels.
"""

import json
import logging
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from tests.bench.figure import figure, measure

TURNS = 5
BATCHES = 6  # a turn
TRAIN, EVAL = 192, 64  # images
CLASSES = 13


def main() -> Iterator[dict[str, Any]]:
    """Yields the two ratios."""
    found = json.loads(measure("-m", "tests.bench.training").output.splitlines()[-1])
    ratio = found["pipeline"] / found["step"]
    yield figure(
        "images/s of the input pipeline, against a MobileNet training step's",
        ratio,
        ">= 3",
        ratio >= 3,
        images_per_second={name: round(found[name], 1) for name in ("pipeline", "step")},
    )
    ratio = found["uncached"] / found["cached"]
    yield figure(
        "seconds of an epoch on a frozen MobileNet without stored features, against one with them",
        ratio,
        ">= 8",
        ratio >= 8,
        seconds={name: round(found[name], 2) for name in ("uncached", "cached")},
        storing=round(found["storing"], 1),
    )


def _measure_all() -> dict[str, float]:
    import numpy as np

    from cxrflow.components.train import store

    random = np.random.default_rng(0)
    with tempfile.TemporaryDirectory() as folder:
        train_images, eval_images = (
            store.write(
                Path(folder) / split,
                [
                    (
                        random.integers(0, 256, (count, 224, 224, 1), np.uint8),
                        random.integers(0, 2, (count, CLASSES)).astype(np.float32),
                    )
                ],
            )
            for split, count in (("train", TRAIN), ("eval", EVAL))
        )
        return _rates(train_images) | _epochs(train_images, eval_images, Path(folder))


def _rates(images: Any) -> dict[str, float]:
    """Images a second of the pipeline with every augmentation, and of a training step."""
    from cxrflow.components.model.network import build_network
    from cxrflow.components.model.recipe import TrainConfig
    from cxrflow.components.train.fit import compile_model
    from cxrflow.components.train.inputs import augmented_pixels, training_batches

    recipe = TrainConfig(weights="none", image_size=224, epochs=1_000, flip=True)
    batches = iter(
        training_batches(images, recipe, 0, lambda x, seed: augmented_pixels(x, seed, recipe))
    )
    network = build_network(recipe, CLASSES)
    model = network.classifier
    compile_model(model, recipe, images.labels, network.tuned)
    batch = next(batches)
    model.train_on_batch(*batch)  # traces

    def rate(step: Callable[[], Any]) -> float:
        started = time.perf_counter()
        for _ in range(BATCHES):
            step()
        return BATCHES * recipe.batch_size / (time.perf_counter() - started)

    fed, trained = [], []
    for _ in range(TURNS):
        for _ in range(4):
            next(batches)  # what was prepared while the step ran
        fed.append(rate(lambda: next(batches)))
        time.sleep(0.5)  # until the pipeline's buffers are full and it rests
        trained.append(rate(lambda: model.train_on_batch(*batch)))
    return {"pipeline": max(fed), "step": max(trained)}


def _epochs(train_images: Any, eval_images: Any, folder: Path) -> dict[str, float]:
    """Seconds of an epoch of a frozen MobileNet's head, evaluation included, and of storing."""
    from cxrflow.components.model.network import build_network
    from cxrflow.components.model.recipe import TrainConfig
    from cxrflow.components.train.fit import train

    recipe = TrainConfig(weights="none", image_size=224, finetune_from="head", patience=99)
    found = {}
    # The number of views changes the time of storing only.
    for name, views, epochs in (("cached", 2, 6), ("uncached", 0, 3)):
        plan = replace(recipe, cached_views=views, epochs=epochs)
        ends = _Epochs()
        started = time.time()
        train(
            build_network(plan, CLASSES),
            train_images,
            eval_images,
            [str(i) for i in range(CLASSES)],
            plan,
            folder / name,
            folder / "logs" / name,
        )
        ends.stop()
        # The first epoch traces.
        found[name] = min(b - a for a, b in zip(ends.times, ends.times[1:], strict=False))
        if views:
            found["storing"] = ends.times[0] - started
    return found


class _Epochs(logging.Handler):
    """The times at which epochs ended."""

    def __init__(self) -> None:
        super().__init__()
        self.times: list[float] = []
        self.logger = logging.getLogger("cxrflow.components.train.callbacks")
        self.logger.setLevel(logging.INFO)
        self.logger.addHandler(self)

    def emit(self, record: logging.LogRecord) -> None:
        if record.msg.startswith("epoch"):
            self.times.append(record.created)

    def stop(self) -> None:
        self.logger.removeHandler(self)


if __name__ == "__main__":
    os.environ["TF_USE_LEGACY_KERAS"] = "0"
    json.dump(_measure_all(), sys.stdout)
