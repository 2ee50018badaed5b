"""A small network that sees something, and the splits that an export reads."""

import io
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from cxrflow.schema.portable.out_of_distribution import Detector
from tests.support.nodes import artifact, write_verdict_on

CLASSES = ["Bright", "Noisy", "Absent"]
DETECTOR = Detector(1, np.ones(4, np.float32), np.diag(np.float32([3, 1, 1, 1])))
COMPACT = {"image_size": 64, "encoding": "jpeg", "jpeg_quality": 95}


@dataclass(frozen=True)
class Made:
    """What an export gets."""

    model: Path  # a Model artifact's folder, with Format-Serving
    examples: Path  # raw, with Split-eval
    transformed: Path  # with Split-train
    originals: dict[str, bytes]  # of eval, by image id


@pytest.fixture(scope="session")
def write_model() -> Callable[[Path, str], Path]:
    """Writes a SavedModel with this head and returns its folder."""
    return _write_model


@pytest.fixture(scope="session")
def images() -> np.ndarray:
    """Gray images of many kinds, uint8 [24, 64, 64]."""
    return _images(24)


@pytest.fixture(scope="session")
def made(tmp_path_factory) -> Made:
    root = tmp_path_factory.mktemp("edge_export")
    _write_model(root / "model" / "Format-Serving", "attention")
    _write_split(root / "transformed" / "Split-train", 30)
    originals = _write_split(root / "examples" / "Split-eval", 10, raw=True)
    return Made(root / "model", root / "examples", root / "transformed", originals)


def _write_model(folder: Path, head: str) -> Path:
    import keras

    from cxrflow.components.model.assets import write_assets
    from cxrflow.components.model.calibration import Calibration
    from cxrflow.components.model.heads import find_head
    from cxrflow.components.model.places import PooledMap
    from cxrflow.components.model.recipe import TrainConfig
    from cxrflow.components.model.signatures import export
    from cxrflow.schema.model_json import CompactFormat, Member, ModelJson, OutOfDistribution

    keras.utils.set_random_seed(7)
    pixels = keras.Input((64, 64, 3))
    x = pixels / 127.5 - 1.0
    maps = []
    for layer in (
        keras.layers.Conv2D(16, 3, strides=2, padding="same", use_bias=False),
        keras.layers.DepthwiseConv2D(3, padding="same", use_bias=False),
        keras.layers.Conv2D(32, 1, use_bias=False),
        keras.layers.Conv2D(160, 3, strides=2, padding="same", use_bias=False),
    ):
        # In training mode a batch norm without momentum takes over the images' own statistics.
        x = keras.layers.BatchNormalization(momentum=0.0)(layer(x))
        x = keras.layers.ReLU(6.0)(x)
        maps.append(x)
    features = [PooledMap(maps[2], 3), PooledMap(x, 1)] if head == "probe" else x
    logits, attention = find_head(head)(features, 3, TrainConfig(head=head))
    network = keras.Model(pixels, {"logits": logits, "attention": attention})
    network(np.repeat(_images(16)[..., None], 3, axis=-1).astype(np.float32), training=True)
    calibration = Calibration(np.array([2.0, 1.5, 1.0]), np.array([0.2, -0.5, 0.0]))
    export(
        lambda pixels: network(pixels, training=False),
        calibration,
        CompactFormat(**COMPACT),
        64,
        folder,
        DETECTOR,
    )
    write_assets(
        folder,
        ModelJson(
            name="small",
            classes=tuple(CLASSES),
            image_size=64,
            compact=CompactFormat(**COMPACT),
            members=(Member("small", "none", head, 1.0),),
            calibration=calibration.to_json(CLASSES),
            out_of_distribution=OutOfDistribution(12.5),
            data="data-1",
            code="code-1",
            synthetic=True,
        ),
        DETECTOR,
    )
    return folder


def _images(count: int) -> np.ndarray:
    return np.stack([_image(i, i % 2, i % 3 == 0) for i in range(count)])


def _image(seed: int, bright: bool, noisy: bool) -> np.ndarray:
    random = np.random.default_rng(seed)
    coarse = random.normal(80 + 60 * bright, 30, (8, 8)).repeat(8, 0).repeat(8, 1)
    return np.clip(coarse + random.normal(0, 5 + 25 * noisy, (64, 64)), 0, 255).astype(np.uint8)


def _write_split(folder: Path, count: int, raw: bool = False) -> dict[str, bytes]:
    """Two images a patient; every second one is Bright, every third Noisy, none Absent."""
    import tensorflow as tf
    from PIL import Image

    from cxrflow.components.images.decoding import compact_batch
    from cxrflow.schema.features import FINDINGS, IMAGE, IMAGE_ID, PATIENT_ID, T_IMAGE, T_LABELS

    def feature(values: list) -> tf.train.Feature:
        if values and isinstance(values[0], float):
            return tf.train.Feature(float_list=tf.train.FloatList(value=values))
        return tf.train.Feature(bytes_list=tf.train.BytesList(value=values))

    originals = {}
    folder.mkdir(parents=True)
    with tf.io.TFRecordWriter(str(folder / "data")) as writer:
        for i in range(count):
            labels = [float(i % 2 == 1), float(i % 3 == 0), 0.0]
            file = io.BytesIO()
            Image.fromarray(_image(i, i % 2, i % 3 == 0)).save(file, "JPEG" if i % 5 else "PNG")
            name, original = f"{i:03}.img", file.getvalue()
            originals[name] = original
            features = {IMAGE_ID: [name.encode()], PATIENT_ID: [str(i // 2).encode()]}
            if raw:
                findings = [c.encode() for c, y in zip(CLASSES, labels, strict=True) if y]
                features |= {IMAGE: [original], FINDINGS: [*findings, b"Hernia"]}
            else:
                compact = compact_batch(tf.constant([original]), 64, "jpeg", 95).numpy()[0]
                features |= {T_IMAGE: [compact], T_LABELS: labels}
            example = tf.train.Example(
                features=tf.train.Features(feature={k: feature(v) for k, v in features.items()})
            )
            writer.write(example.SerializeToString())
    return originals


@pytest.fixture(scope="session")
def run_export(made):
    """Runs the executor as TFX does; returns the output artifact."""
    from tfx.types.standard_artifacts import Examples, Model

    from cxrflow.components import artifacts
    from cxrflow.components.edge.export.executor import Executor

    failed = ("Bright: AUC 0.450, 0.500 needed",)

    def run(folder: Path, blessed: list[bool], **settings: int | str):
        examples, transformed = (artifact(Examples, x) for x in (made.examples, made.transformed))
        examples.split_names, transformed.split_names = '["eval"]', '["train"]'
        verdicts = [
            artifact(
                artifacts.Verdict,
                write_verdict_on(
                    folder.parent / f"verdict{number}", f"verdict{number}", *(() if yes else failed)
                ),
            )
            for number, yes in enumerate(blessed)
        ]
        candidate = artifact(artifacts.EdgeCandidate, folder)
        Executor().Do(
            {
                "model": [artifact(Model, made.model)],
                "verdicts": verdicts,
                "examples": [examples],
                "transformed_examples": [transformed],
            },
            {"candidate": [candidate]},
            {"settings": json.dumps({"edge": settings, "synthetic": True}), "code_version": ""},
        )
        return candidate

    return run
