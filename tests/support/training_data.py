"""A small learnable data set in the form that Transform writes: squares on the left or right."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest


@dataclass(frozen=True)
class Tiny:
    """Folder with Split-train/ and Split-eval/, and the eval originals in the same order."""

    folder: Path
    pngs: list[bytes]
    raw: list[bytes]  # serialized raw tf.Examples
    transformed: list[bytes]  # serialized transformed tf.Examples


@pytest.fixture(scope="module")
def tiny_backbone():
    """Lets "MobileNet" be a network that is traced in no time."""
    import keras

    from tests.support import tiny_training

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(keras.applications.mobilenet, "MobileNet", tiny_training.tiny_backbone)
        yield


@pytest.fixture(scope="session")
def save_legacy_h5() -> Callable[[Any, Path], None]:
    """Saves a model as keras.applications' files are, which Keras 3 reads but no longer writes."""
    import h5py

    def save(model: Any, path: Path) -> None:
        with h5py.File(path, "w") as file:
            file.attrs["layer_names"] = [layer.name.encode() for layer in model.layers]
            for layer in model.layers:
                group = file.create_group(layer.name)
                names = [f"{layer.name}/{weight.name}:0" for weight in layer.weights]
                group.attrs["weight_names"] = [name.encode() for name in names]
                for name, weight in zip(names, layer.weights, strict=True):
                    group[name] = weight.numpy()

    return save


@pytest.fixture(scope="session")
def image_folder(tiny, tmp_path_factory) -> Path:
    """The images of `tiny` as a training stores them, in train/ and eval/."""
    from cxrflow.components.train import store
    from cxrflow.components.train.inputs import read_transformed

    folder = tmp_path_factory.mktemp("images")
    for split in ("train", "eval"):
        batches = read_transformed([f"{tiny.folder}/Split-{split}/*"], "jpeg", 64, 64, 3)
        store.write(folder / split, batches)
    return folder


@pytest.fixture(scope="session")
def tiny(tmp_path_factory) -> Tiny:
    import tensorflow as tf

    from cxrflow.components.images.decoding import compact_batch
    from cxrflow.schema.features import IMAGE, IMAGE_ID, PATIENT_ID, T_IMAGE, T_LABELS

    def example(**features: list[bytes] | np.ndarray) -> bytes:
        return tf.train.Example(
            features=tf.train.Features(
                feature={
                    name: tf.train.Feature(float_list=tf.train.FloatList(value=value))
                    if isinstance(value, np.ndarray)
                    else tf.train.Feature(bytes_list=tf.train.BytesList(value=value))
                    for name, value in features.items()
                }
            )
        ).SerializeToString()

    folder = tmp_path_factory.mktemp("tiny")
    random = np.random.default_rng(0)
    for split, count in (("train", 64), ("eval", 24)):
        labels = np.zeros((count, 3), np.float32)  # the third class has no positives
        labels[:, :2] = random.integers(0, 2, (count, 2))
        pngs = []
        for left, right, _ in labels:
            image = random.normal(90, 20, (128, 128, 1))
            image[40:80, 10:50] += 90 * left
            image[40:80, 80:120] += 90 * right
            image = np.clip(image, 0, 255).astype(np.uint8)
            pngs.append(tf.io.encode_png(image).numpy())
        compact = compact_batch(tf.constant(pngs), 64, "jpeg", 95).numpy()
        transformed = [
            example(
                **{
                    T_IMAGE: [c],
                    T_LABELS: k,
                    IMAGE_ID: [f"{split}_{i:03d}".encode()],
                    PATIENT_ID: [f"{split}_{i // 2}".encode()],
                }
            )
            for i, (c, k) in enumerate(zip(compact, labels, strict=True))
        ]
        # In two files, as Transform writes one for each of the raw ones.
        (folder / f"Split-{split}").mkdir()
        for i, part in enumerate((transformed[:20], transformed[20:])):
            path = folder / f"Split-{split}" / f"data-{i:05d}-of-00002"
            with tf.io.TFRecordWriter(str(path)) as writer:
                for serialized in part:
                    writer.write(serialized)
    return Tiny(folder, pngs, [example(**{IMAGE: [png]}) for png in pngs], transformed)
