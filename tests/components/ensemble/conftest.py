"""Two small members with random weights, and images on which they are of some use."""

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from tests.support.nodes import artifact, write_verdict_on

CLASSES = ["Bright", "Noisy", "Absent"]
COMPACT = {"image_size": 64, "encoding": "jpeg", "jpeg_quality": 95}
HEADS = {"attentive": "attention", "plain": "simple"}


@dataclass(frozen=True)
class Made:
    """What the ensemble's inputs look like on disk."""

    root: Path
    pngs: list[bytes]  # of the test split
    raw: list[bytes]
    transformed: list[bytes]


@pytest.fixture(scope="session")
def made(tmp_path_factory) -> Made:
    root = tmp_path_factory.mktemp("ensemble")
    for seed, (name, head) in enumerate(HEADS.items()):
        write_member(root / "models" / name / "Format-Serving", name, head, seed)
    write_examples(root / "examples" / "Split-eval" / "data", 80, 0)
    pngs, raw, transformed = write_examples(root / "examples" / "Split-test" / "data", 20, 1)
    for name in HEADS:
        write_verdict_on(root / "verdicts" / name, name)
    return Made(root, pngs, raw, transformed)


def write_member(folder: Path, name: str, head: str, seed: int) -> None:
    """A network with random weights that sees something, calibrated otherwise than by identity."""
    import keras

    from cxrflow.components.model.assets import write_assets
    from cxrflow.components.model.calibration import Calibration
    from cxrflow.components.model.network import build_network
    from cxrflow.components.model.signatures import export
    from cxrflow.schema.model_json import CompactFormat, Member, ModelJson, OutOfDistribution
    from cxrflow.schema.portable.out_of_distribution import Detector
    from tests.support import tiny_training

    keras.utils.set_random_seed(seed)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(keras.applications.mobilenet, "MobileNet", tiny_training.tiny_backbone)
        network = build_network(tiny_training.recipe(head=head, seed=seed), len(CLASSES)).full
    # Of the right sign and some units wide: brighter is Bright, noisier is Noisy.
    noise = np.random.default_rng(0).normal(0, 30, (64, 64, 3))
    gray, bright, noisy = network(
        np.array([np.full((64, 64, 3), 90), noise * 0 + 140, noise + 90])
    )["logits"].numpy()
    output = network.get_layer("logits")
    output.kernel.assign(output.kernel * 20 * np.sign([*(bright - gray)[:1], *(noisy - gray)[1:]]))
    # The second member alone tells what is no X-ray, by brightness.
    whitening = np.diag(np.float32([10, 0, 0, 0]))
    detector = Detector(1, np.zeros(4, np.float32), whitening) if seed else None
    calibration = Calibration(np.array([0.8, 1.5, 1.0]), np.array([0.2 * seed, -0.5, 0.0]))
    export(
        lambda pixels: network(pixels, training=False),
        calibration,
        CompactFormat(**COMPACT),
        64,
        folder,
        detector,
    )
    write_assets(
        folder,
        ModelJson(
            name=name,
            classes=tuple(CLASSES),
            image_size=64,
            compact=CompactFormat(**COMPACT),
            members=(Member(name, "MobileNet", head, 1.0),),
            calibration=calibration.to_json(CLASSES),
            out_of_distribution=OutOfDistribution(40.0 + seed) if detector else None,
            data="data-1",
            code="code-1",
            synthetic=True,
        ),
        detector,
    )


def write_examples(path: Path, count: int, seed: int) -> tuple[list[bytes], ...]:
    """Bright images are Bright, noisy ones Noisy, and none is Absent; members see brightness."""
    import tensorflow as tf

    from cxrflow.components.images.decoding import compact_batch
    from cxrflow.schema import features as names
    from cxrflow.schema.features import IMAGE, PATIENT_ID, T_IMAGE, T_LABELS

    def feature(value: bytes | int | np.ndarray) -> tf.train.Feature:
        if isinstance(value, bytes):
            return tf.train.Feature(bytes_list=tf.train.BytesList(value=[value]))
        if isinstance(value, int):
            return tf.train.Feature(int64_list=tf.train.Int64List(value=[value]))
        return tf.train.Feature(float_list=tf.train.FloatList(value=value))

    def example(**features: bytes | int | np.ndarray) -> bytes:
        kinds = {name: feature(value) for name, value in features.items()}
        return tf.train.Example(features=tf.train.Features(feature=kinds)).SerializeToString()

    random = np.random.default_rng(seed)
    labels = np.zeros((count, 3), np.float32)
    labels[:, :2] = random.integers(0, 2, (count, 2))
    pngs = []
    for left, right, _ in labels:
        image = random.normal(80 + 60 * left, 10 + 30 * right, (128, 128, 1))
        pngs.append(tf.io.encode_png(np.clip(image, 0, 255).astype(np.uint8)).numpy())
    compact = compact_batch(tf.constant(pngs), 64, "jpeg", 95).numpy()
    transformed = [
        example(
            **{
                T_IMAGE: image,
                T_LABELS: label,
                PATIENT_ID: str(i // 2).encode(),
                names.IMAGE_ID: f"{i}.png".encode(),
                names.AGE: 40 + i,
                names.AGE_BAND: b"40-59",
                names.SEX: b"F",
                names.VIEW: b"PA",
            }
        )
        for i, (image, label) in enumerate(zip(compact, labels, strict=True))
    ]
    path.parent.mkdir(parents=True)
    with tf.io.TFRecordWriter(str(path)) as writer:
        for one in transformed:
            writer.write(one)
    return pngs, [example(**{IMAGE: png}) for png in pngs], transformed


@pytest.fixture(scope="session")
def run_ensemble(made):
    """Runs the executor as TFX does; returns the folders of `model` and `report`."""
    from tfx.types.standard_artifacts import Examples, Model

    from cxrflow.components.artifacts import EnsembleReport, Scores, Verdict
    from cxrflow.components.ensemble.executor import Executor

    def run(out: Path, models: list[Path], verdicts: list[Path], method: str) -> tuple[Path, Path]:
        examples = artifact(Examples, made.root / "examples")
        examples.split_names = json.dumps(["eval", "test"])
        Executor().Do(
            {
                "models": [artifact(Model, folder) for folder in models],
                "verdicts": [artifact(Verdict, folder) for folder in verdicts],
                "examples": [examples],
            },
            {
                "model": [artifact(Model, out / "model")],
                "report": [artifact(EnsembleReport, out / "report")],
                "scores": [artifact(Scores, out / "scores")],
            },
            {
                "settings": json.dumps(
                    {
                        "ensemble": {"method": method, "batch_size": 32},
                        "calibrate": {"sensitivity": 0.9, "specificity": 0.8},
                        "classes": CLASSES,
                        "compact": COMPACT,
                        "synthetic": True,
                        "data_version": "data-1",
                        "split": "official test list",
                    }
                ),
                "code_version": "code-1",
            },
        )
        return out / "model" / "Format-Serving", out / "report"

    return run
