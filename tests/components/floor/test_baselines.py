"""What the simplest models find, and what they can't."""

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from cxrflow.components.evaluate.ece import expected_calibration_error
from cxrflow.components.floor.baselines import fitted, kinds, metadata
from cxrflow.components.floor.settings import BaselinesSettings, FloorConfig, floor_recipe
from cxrflow.components.model.metrics import per_class_auc
from cxrflow.components.model.recipe import TrainConfig
from cxrflow.components.node import to_json
from cxrflow.components.score.files import OUT_OF_FOLD, Table, read_scores
from cxrflow.components.transform.settings import TransformConfig
from cxrflow.schema.errors import CxrflowError
from tests.components.evaluate.evidence_maker import table
from tests.support.nodes import artifact

CLASSES = ("Seen", "Old")


def split(seed: int, images: int = 600) -> tuple[np.ndarray, Table]:
    """Features show the first class; age the second."""
    random = np.random.default_rng(seed)
    images_ = table(images, seed)
    old = images_.age > 45
    labels = np.stack([random.random(images) < 0.3, old & (random.random(images) < 0.6)], axis=1)
    features = random.normal(size=(images, 20))
    features[:, 0] += 2 * labels[:, 0]
    return features, replace(images_, labels=labels.astype(np.uint8))


@pytest.fixture(scope="module")
def found():
    made = {name: split(seed) for seed, name in enumerate(("train", "eval", "test"))}
    features, images = ({name: pair[i] for name, pair in made.items()} for i in (0, 1))
    return {
        kind.name: fitted(kind, images, CLASSES, True, folds=3, strengths=(0.1, 1.0))
        for kind in kinds(features, images, "20 features")
    }


def test_each_finds_what_it_sees(found) -> None:
    aucs = {
        name: per_class_auc(test.images.labels, test.probabilities)
        for name, (_, test) in found.items()
    }
    assert aucs["probe"][0] > 0.85 and abs(aucs["probe"][1] - 0.5) < 0.1
    assert aucs["metadata"][1] > 0.75 and abs(aucs["metadata"][0] - 0.5) < 0.1
    assert np.abs(aucs["shuffled"] - 0.5).max() < 0.2


def test_scores_are_calibrated_and_say_how_they_came_about(found) -> None:
    for name, (evaluated, test) in found.items():
        assert (evaluated.split, test.split, test.model) == ("eval", "test", name)
        assert test.synthetic and test.classes == CLASSES
        assert "3-fold cross-validation over patients, fitted to 600 training" in test.note
        assert ("of 0.1, 1 by" in test.note) == (name != "shuffled")
        for c in range(2):
            ece = expected_calibration_error(test.images.labels[:, c], test.probabilities[:, c])
            assert ece < 0.12
    assert "labels shuffled" in found["shuffled"][1].note
    assert "sex, age" in found["metadata"][1].note


def test_cross_fitted_baselines_are_scored_out_of_fold_on_train_and_eval() -> None:
    made = {name: split(seed, 90) for seed, name in enumerate(("train", "eval", "test"))}
    features, images = ({name: pair[i] for name, pair in made.items()} for i in (0, 1))
    for name in ("train", "eval"):
        ids = np.array([f"{name}-{i}" for i in range(90)])
        images[name] = replace(images[name], image_id=ids, patient_id=ids)
    images[OUT_OF_FOLD] = Table.together(images["train"], images["eval"])
    features[OUT_OF_FOLD] = np.concatenate([features["train"], features["eval"]])
    kind = next(iter(kinds(features, images, "")))
    on_eval, on_test, honest = fitted(kind, images, CLASSES, True, folds=3, strengths=(0.1, 1.0))
    assert [s.split for s in (on_eval, on_test, honest)] == ["eval", "test", OUT_OF_FOLD]
    assert "fitted to 180 training images" in honest.note
    assert len(honest.images) == 180
    np.testing.assert_array_equal(honest.probabilities[90:], on_eval.probabilities)


def test_metadata_of_one_image() -> None:
    images = table(3, 0)
    one = replace(
        images,
        age=np.array([50, 20, 0]),
        sex=np.array(["M", "F", "F"]),
        view=np.array(["AP", "PA", "AP"]),
    )
    assert metadata(one).tolist() == [[5, 25, 1, 1], [2, 4, 0, 0], [0, 0, 0, 1]]


def test_one_patient_is_too_few() -> None:
    features, images = split(0, 3)
    lone = {name: images for name in ("train", "eval", "test")}
    kind = next(iter(kinds(dict.fromkeys(lone, features), lone, "")))
    with pytest.raises(CxrflowError, match="one patient"):
        fitted(kind, lone, CLASSES, True, folds=3, strengths=(0.1,))


def write_examples(path: Path, images: Sequence[int]) -> None:
    """Images of 64 pixels, each brighter than the one before; three a patient."""
    import tensorflow as tf

    from cxrflow.components.images.decoding import encode_compact

    def feature(value):
        if isinstance(value, bytes):
            return tf.train.Feature(bytes_list=tf.train.BytesList(value=[value]))
        return tf.train.Feature(int64_list=tf.train.Int64List(value=[value]))

    path.parent.mkdir(parents=True, exist_ok=True)
    with tf.io.TFRecordWriter(str(path)) as writer:
        for i in images:
            image = tf.constant(np.full((64, 64, 1), 5 * i), tf.uint8)
            values = {
                "image": encode_compact(image, "jpeg").numpy(),
                "image/id": f"{i}.png".encode(),
                "patient/id": str(i // 3).encode(),
                "patient/age": 40 + i,
                "patient/sex": b"F",
                "view": b"PA",
                "age_band": b"40-59",
            }
            features = {name: feature(value) for name, value in values.items()}
            features["labels"] = tf.train.Feature(float_list=tf.train.FloatList(value=[i % 2]))
            example = tf.train.Example(features=tf.train.Features(feature=features))
            writer.write(example.SerializeToString())


SETTINGS = BaselinesSettings(
    floor=FloorConfig(batch_size=5),
    weights="",
    recipe=TrainConfig(head="probe", alpha=0.25, weights="none", image_size=32),
    compact=TransformConfig(image_size=64),
    classes=("Bright",),
    synthetic=True,
)


@pytest.mark.tf
def test_from_transformed_examples(tmp_path) -> None:
    import keras

    from cxrflow.components.floor.features import featured, few_patients, frozen_network

    path = str(tmp_path / "examples-00000-of-00001")
    write_examples(Path(path), range(12))
    network = frozen_network(SETTINGS)
    found = featured(network, [path], SETTINGS)
    assert found.features.shape == (12, 256) and np.isfinite(found.features).all()
    keras.utils.set_random_seed(7)  # as whatever ran before in this process leaves it
    again = featured(frozen_network(SETTINGS), [path], SETTINGS)
    np.testing.assert_array_equal(found.features, again.features)
    assert found.images.labels[:, 0].tolist() == [0, 1] * 6
    assert found.images.image_id[11] == "11.png"
    assert few_patients([path], 12) is None
    drawn = few_patients([path], 7)
    assert (drawn == few_patients([path], 7)).all()
    some = featured(network, [path], SETTINGS, drawn)
    assert len(set(some.images.patient_id)) == 2
    assert len(some.images) == 6
    assert some.images.image_id.tolist() == found.images.image_id[drawn].tolist()
    assert few_patients([path], 1).sum() == 3
    with pytest.raises(CxrflowError, match="give more data"):
        featured(network, [], SETTINGS)


def test_the_probe_sees_what_the_first_member_sees_before_it_is_trained() -> None:
    first = TrainConfig(
        backbone="ResNet50V2",
        image_size=320,
        cut_at="conv5_block1_preact_relu",
        feature_layers=("conv4_block1_preact_relu",),
        weights_dir="weights",
        cross_fit=4,
        head="attention",
        finetune_from="default",
    )
    shared = {"backbone": "ResNet50V2", "weights_dir": "weights", "cross_fit": 4, "head": "probe"}
    layers = {"cut_at": first.cut_at, "feature_layers": first.feature_layers}
    expected = TrainConfig(**shared, **layers, image_size=320)
    assert floor_recipe(FloorConfig(), first) == expected
    assert floor_recipe(FloorConfig(image_size=64), first) == replace(expected, image_size=64)


@pytest.mark.tf
def test_a_cut_network_needs_weights_up_to_its_cut_alone(tmp_path) -> None:
    import keras

    from cxrflow.components.floor.features import featured, frozen_network
    from cxrflow.components.model.backbones import build_backbone

    write_examples(tmp_path / "examples", range(12))
    whole = build_backbone("MobileNet", 64, 0.25)
    part = keras.Model(whole.inputs, whole.get_layer("conv_pw_6_relu").output)
    part.save_weights(tmp_path / "mobilenet_2_5_cut_conv_pw_6_relu.weights.h5")
    first = TrainConfig(
        alpha=0.25,
        image_size=64,
        weights_dir=str(tmp_path),
        cut_at="conv_pw_6_relu",
        feature_layers=("conv_pw_3_relu",),
    )
    settings = replace(SETTINGS, recipe=floor_recipe(FloorConfig(), first))
    found = featured(frozen_network(settings), [str(tmp_path / "examples")], settings).features
    assert found.shape == (12, 32 + 128)
    early = keras.Model(part.inputs[0], part.get_layer("conv_pw_3_relu").output)
    second = np.full((1, 64, 64, 3), 5.0, np.float32)
    np.testing.assert_allclose(found[1, :32], early(second)[0].numpy().mean((0, 1)), rtol=1e-4)


@pytest.mark.tf
@pytest.mark.parametrize(
    ("max_images", "most", "splits", "fitted_to"),
    [
        (12, 20, ["eval", "out_of_fold", "test"], "2-fold cross-validation over patients, 18"),
        (6, 20, ["eval", "test"], "2-fold cross-validation over patients, 12"),  # eval, and drawn
        (
            6,
            17,
            ["eval", "test"],
            "3-fold cross-validation over patients, 6",
        ),  # no model cross-fits
    ],
)
def test_cross_fitted_as_the_models_are_which_see_all_images(
    max_images, most, splits, fitted_to, tmp_path, monkeypatch
) -> None:
    """18 images in train and eval; auto cross-fits up to `most`."""
    from tfx.types.standard_artifacts import Examples

    from cxrflow.components.artifacts import Scores
    from cxrflow.components.floor.executor import Executor
    from cxrflow.components.model import folds

    monkeypatch.setattr(folds, "CROSS_FIT_IMAGES", most)
    monkeypatch.setattr(folds, "FOLDS", 2)
    for split, images in {"train": (0, 12), "eval": (12, 18), "test": (18, 24)}.items():
        write_examples(tmp_path / "examples" / f"Split-{split}" / "data", range(*images))
    examples = artifact(Examples, tmp_path / "examples")
    examples.split_names = '["train", "eval", "test"]'
    floor = FloorConfig(folds=3, max_images=max_images)
    settings = replace(SETTINGS, floor=floor, recipe=replace(SETTINGS.recipe, cross_fit="auto"))
    Executor().Do(
        {"examples": [examples]},
        {"scores": [artifact(Scores, tmp_path / "scores")]},
        {"settings": to_json(settings)},
    )
    for name in ("probe", "metadata", "shuffled"):
        described = json.loads((tmp_path / "scores" / name / "scores.json").read_text())
        assert sorted(described["splits"]) == splits
        folds_of, images_of = fitted_to.split(", ")
        assert f"{folds_of}, fitted to {images_of} training images" in described["note"]
        assert len(read_scores(tmp_path / "scores", name, "eval").images) == 6
