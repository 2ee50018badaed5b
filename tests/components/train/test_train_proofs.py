"""What can be known of the GPU profiles without a GPU, on a few real X-rays; `make proofs`."""

import csv
import dataclasses
from pathlib import Path
from unittest import mock

import numpy as np
import pytest
import tensorflow as tf

from cxrflow.components.edge.export import litert
from cxrflow.components.edge.export.source import Source
from cxrflow.components.images.decoding import compact_batch
from cxrflow.components.model.metrics import per_class_auc
from cxrflow.components.model.recipe import TrainConfig
from cxrflow.components.train import callbacks
from cxrflow.pipeline import config
from cxrflow.schema.features import IMAGE_ID, PATIENT_ID, T_IMAGE, T_LABELS
from tests.bench.proofs import LEARNED, WHOLE, recipes
from tests.support.tiny_training import run

pytestmark = [pytest.mark.proofs, pytest.mark.tf, pytest.mark.timeout(3600)]

FINDINGS = ("Infiltration", "Effusion", "Atelectasis")
RECIPES = recipes()


def some_xrays(shared_dir: Path, count: int) -> list[tuple[bytes, list[bool]]]:
    """PNGs and labels of as many patients, each finding on a third of them or more."""
    folder = shared_dir / "data" / "nih-mini"
    found: dict[str, tuple[bytes, list[bool]]] = {}
    with (folder / "Data_Entry_2017.csv").open(newline="") as file:
        for row in csv.DictReader(file):
            labels = [finding in row["Finding Labels"].split("|") for finding in FINDINGS]
            rare = min(range(3), key=lambda c: sum(of[c] for _, of in found.values()))
            if labels[rare] and row["Patient ID"] not in found and len(found) < count:
                image = next(folder.glob(f"images*/**/{row['Image Index']}"))
                found[row["Patient ID"]] = (image.read_bytes(), labels)
    assert len(found) == count
    return list(found.values())


def written(xrays: list[tuple[bytes, list[bool]]], size: int, folder: Path) -> list[bytes]:
    """Writes the X-rays as train and as eval split, as Transform does; returns them serialized."""
    compact = compact_batch(tf.constant([png for png, _ in xrays]), size, "jpeg", 95).numpy()
    serialized = []
    for i, (image, (_, labels)) in enumerate(zip(compact, xrays, strict=True)):
        text = {T_IMAGE: image, IMAGE_ID: f"{i}".encode(), PATIENT_ID: f"{i}".encode()}
        features = {
            name: tf.train.Feature(bytes_list=tf.train.BytesList(value=[value]))
            for name, value in text.items()
        }
        floats = tf.train.FloatList(value=np.array(labels, np.float32))
        features[T_LABELS] = tf.train.Feature(float_list=floats)
        example = tf.train.Example(features=tf.train.Features(feature=features))
        serialized.append(example.SerializeToString())
    for split in ("train", "eval"):
        (folder / f"Split-{split}").mkdir(parents=True)
        with tf.io.TFRecordWriter(str(folder / f"Split-{split}" / "data-00000-of-00001")) as file:
            for one in serialized:
                file.write(one)
    return serialized


@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_learns_32_xrays_by_heart(name, shared_dir, tmp_path, record_property):
    """As it is but for what keeps from it, and for size, batch and weights.

    It may see them 80 times (without batch norms, which begin slowly, 160 times), and ends when it
    has known them for a while.
    """
    by_heart = {
        **{"rotation": 0.0, "shift": 0.0, "zoom": 0.0, "contrast": 0.0, "dropout": 0.0},
        **{"weights": "none", "batch_norm": "train", "bn_momentum": 0.9, "head_epochs": 0},
        **{"image_size": 96, "batch_size": 8, "accumulation_steps": 2, "ema": 0.0},
        **{"epochs": 20, "epoch_images": 4 * 32, "patience": 4},
    }
    if RECIPES[name].backbone == "VGG19":
        by_heart |= {"epochs": 40, "patience": 8}
    recipe = dataclasses.asdict(RECIPES[name])
    serialized = written(some_xrays(shared_dir, 32), 96, tmp_path)
    run(str(tmp_path), str(tmp_path), size=96, **recipe | by_heart)
    served = tf.saved_model.load(str(tmp_path / "Format-Serving"))
    answer = served.signatures["transformed_examples"](examples=tf.constant(serialized))
    labels = np.array(
        [
            tf.train.Example.FromString(one).features.feature[T_LABELS].float_list.value
            for one in serialized
        ]
    )
    auc = float(per_class_auc(labels, answer["logits"].numpy()).min())
    record_property("auc", auc)
    assert auc >= LEARNED


class Killed(BaseException):
    """The end, at once."""


@pytest.mark.parametrize("name", [name for name in RECIPES if name.startswith(f"{WHOLE}-")])
def test_at_512_pixels_it_trains_goes_on_and_is_served_and_converted(name, shared_dir, tmp_path):
    changes = {"weights": "none", "batch_size": 2, "accumulation_steps": 1, "epochs": 2}
    recipe = dataclasses.asdict(dataclasses.replace(RECIPES[name], **changes, head_epochs=0))
    assert (recipe["image_size"], recipe["head"]) == (512, "attention")
    xrays = some_xrays(shared_dir, 4)
    serialized = written(xrays, 512, tmp_path)
    ended: list[int] = []
    end = callbacks.ResumableStopping.on_epoch_end

    def noting(self: object, epoch: int, logs: dict[str, float]) -> None:
        end(self, epoch, logs)
        ended.append(epoch)
        if len(ended) == 1:
            raise Killed

    with mock.patch.object(callbacks.ResumableStopping, "on_epoch_end", noting):
        with pytest.raises(Killed):
            run(str(tmp_path), str(tmp_path), size=512, **recipe)
        run(str(tmp_path), str(tmp_path), size=512, **recipe)
    assert ended == [0, 1]  # what was finished wasn't done again

    source = Source(tmp_path / "Format-Serving")
    served = source.model.signatures["serving_default"](image_bytes=[png for png, _ in xrays])
    transformed = source.model.signatures["transformed_examples"](examples=serialized)
    expected = served["probabilities"].numpy()
    np.testing.assert_allclose(transformed["probabilities"], expected, atol=0.02)  # JPEG
    pixels = np.random.default_rng(0).integers(0, 256, (1, 512, 512, 1), np.uint8)
    interpreter = tf.lite.Interpreter(model_content=litert.convert(source))
    interpreter.allocate_tensors()
    three = np.repeat(pixels.astype(np.float32), 3, axis=-1)
    interpreter.set_tensor(interpreter.get_input_details()[0]["index"], three)
    interpreter.invoke()
    answer = interpreter.get_tensor(interpreter.get_output_details()[0]["index"])
    np.testing.assert_allclose(answer, source.probabilities(pixels[..., 0]), atol=1e-3)


def test_the_recipes_are_the_missions():
    """The study's four and two more, at 512 pixels, 256 images an update."""
    nih = config.load("nih").members.values()
    assert [recipe.backbone for recipe in nih] == [
        *("MobileNet", "MobileNetV2", "InceptionV3", "VGG19", "DenseNet121", "ResNet50V2")
    ]
    assert {(r.image_size, r.head, r.color) for r in nih} == {(512, "attention", "rgb")}
    assert {r.batch_size * r.accumulation_steps for r in nih} == {256}
    assert isinstance(RECIPES["nih_baseline-densenet121_simple"], TrainConfig)
