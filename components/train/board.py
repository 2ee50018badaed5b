"""What TensorBoard shows of a trained model beside its curves, written once at the end.

Everything goes into the folders of Keras's own curves, train/ and validation/, so that no further
runs appear: what was trained on into the one, what eval showed into the other.
"""

from dataclasses import asdict
from pathlib import Path

import numpy as np
import tensorflow as tf
from tensorboard.plugins.hparams import api as hparams
from tensorboard.plugins.pr_curve import summary as pr_curve

from cxrflow.components.evaluate.ece import bin_sums
from cxrflow.components.images.blend import blend
from cxrflow.components.images.pixels import to_pixels
from cxrflow.components.model.calibration import Calibration
from cxrflow.components.model.recipe import TrainConfig
from cxrflow.components.model.test_time import Network
from cxrflow.components.train.inputs import augmented_pixels
from cxrflow.components.train.source import Inputs

SAMPLES = 8  # training images
MAPS = 4  # eval images a class
_BATCH = 8
_THRESHOLDS = 500  # of a precision-recall curve, in equal steps from 0 to 1
_SIDE, _MARGIN = 240, 20  # pixels of a reliability diagram
_GRAY, _BEFORE, _AFTER = (150, 150, 150), (200, 150, 60), (30, 90, 180)


def write_board(
    log_dir: Path,
    network: Network,
    recipe: TrainConfig,
    classes: list[str],
    train_images: Inputs,
    eval_images: Inputs,
    logits: np.ndarray,
    calibration: Calibration,
) -> None:
    """Writes settings, sample inputs, attention maps, precision-recall and reliability diagrams.

    Args:
        log_dir: folder of Keras's curves.
        network: pixels float32 [N, S, S, 3] -> `attention` [N, h, w(, C)] and more.
        recipe: what the network was trained with.
        classes: C names.
        train_images: as stored, before augmentation.
        eval_images: with labels [N, C].
        logits: the network's, of the eval images, [N, C].
        calibration: makes logits into probabilities.
    """
    probabilities = calibration.apply(logits)
    uncalibrated = Calibration.identity(len(classes)).apply(logits)
    labels = eval_images.labels
    with tf.summary.create_file_writer(str(log_dir)).as_default(step=0):
        _write_settings(recipe, log_dir.name)
    with tf.summary.create_file_writer(str(log_dir / "train")).as_default(step=0):
        tf.summary.image(
            "inputs as trained on", _samples(train_images, recipe), max_outputs=SAMPLES
        )
    with tf.summary.create_file_writer(str(log_dir / "validation")).as_default(step=0):
        for name, maps in _attention(network, eval_images, classes).items():
            tf.summary.image(
                f"attention/{name}",
                maps,
                max_outputs=MAPS,
                description="X-ray and map side by side; the map's colours go from 0 to 1.",
            )
        for i, name in enumerate(classes):
            truth = labels[known := ~np.isnan(labels[:, i]), i]
            if not len(truth):
                continue
            tf.summary.image(
                f"calibration/{name}",
                _reliability(truth, uncalibrated[known, i], probabilities[known, i])[None],
                description="Share of positives over mean probability, both from 0 to 1, in bins "
                "of equally many images: yellow before, blue after calibration.",
            )
            if truth.any():
                curve = pr_curve.pb(
                    name, truth > 0, probabilities[known, i], num_thresholds=_THRESHOLDS
                )
                tf.summary.experimental.write_raw_pb(curve.SerializeToString())


def _write_settings(recipe: TrainConfig, trial: str) -> None:
    """The recipe as hyperparameters, beside the mean eval AUC that Keras logged."""
    values = {
        name: value if isinstance(value, int | float | str) else str(value)
        for name, value in asdict(recipe).items()
    }
    metric = hparams.Metric("epoch_auc", group="validation", display_name="mean eval AUC")
    hparams.hparams_config([hparams.HParam(name) for name in values], [metric])
    hparams.hparams(values, trial_id=trial)


def _samples(images: Inputs, recipe: TrainConfig) -> tf.Tensor:
    """The first training images as an epoch sees them, uint8 [N, S, S, 3]."""
    gray = images.take(range(min(SAMPLES, len(images))))
    return tf.cast(augmented_pixels(gray, [recipe.seed, 0], recipe), tf.uint8)


def _attention(network: Network, images: Inputs, classes: list[str]) -> dict[str, np.ndarray]:
    """Positive eval images with their maps to the right, uint8 [N, S, 2 S, 3], by class.

    A network with one map for all classes gets one entry, of images with any finding.
    """
    positives = [np.flatnonzero(of_class > 0)[:MAPS] for of_class in images.labels.T]
    rows = np.unique(np.concatenate(positives))
    if not len(rows):
        return {}
    gray = images.take(rows)
    # Not eagerly, where Keras holds every layer's output to the end: gigabytes.
    forward = tf.function(lambda pixels: network(pixels)["attention"], reduce_retracing=True)
    parts = (gray[i : i + _BATCH] for i in range(0, len(gray), _BATCH))
    maps = np.concatenate([forward(to_pixels(part)).numpy() for part in parts])
    if maps.ndim == 3:
        return {"all classes": _beside(gray[:MAPS], maps[:MAPS])}
    return {
        name: _beside(gray[chosen], maps[chosen, ..., i])
        for i, name in enumerate(classes)
        if len(chosen := np.flatnonzero(np.isin(rows, positives[i])))
    }


def _beside(gray: np.ndarray, maps: np.ndarray) -> np.ndarray:
    return np.stack(
        [
            np.hstack([np.repeat(image, 3, axis=-1), blend(image[..., 0], attention)])
            for image, attention in zip(gray, maps, strict=True)
        ]
    )


def _reliability(labels: np.ndarray, before: np.ndarray, after: np.ndarray) -> np.ndarray:
    """A reliability diagram, uint8 [H, W, 3]: both axes from 0 to 1, the diagonal is right."""
    import cv2

    size = _SIDE + 2 * _MARGIN
    picture = np.full((size, size, 3), 255, np.uint8)

    def at(x: float, y: float) -> tuple[int, int]:
        return round(_MARGIN + x * _SIDE), round(_MARGIN + (1 - y) * _SIDE)

    cv2.rectangle(picture, at(0, 1), at(1, 0), _GRAY)
    cv2.line(picture, at(0, 0), at(1, 1), _GRAY)
    for probabilities, colour in ((before, _BEFORE), (after, _AFTER)):
        for count, total, positives in zip(*bin_sums(labels, probabilities), strict=True):
            if count:
                cv2.circle(picture, at(total / count, positives / count), 4, colour, -1)
    return picture
