"""Training on stored images, without files of TFX."""

import runpy
from dataclasses import replace
from pathlib import Path

import keras
import numpy as np
import pytest

from components.train import store
from components.train.fit import train
from components.train.inputs import read_transformed, steps_per_epoch, to_pixels
from components.train.metrics import per_class_auc
from components.train.network import Network, build_network
from components.train.recipe import TrainConfig
from schema.errors import CxrflowError

pytestmark = [pytest.mark.tf, pytest.mark.usefixtures("tiny_backbone")]

tiny_script = runpy.run_path(str(Path(__file__).with_name("train_tiny.py")))
recipe = tiny_script["recipe"]
CLASSES = tiny_script["CLASSES"]


@pytest.fixture(scope="module")
def splits(tiny, tmp_path_factory) -> list[store.Stored]:
    folder = tmp_path_factory.mktemp("images")
    return [
        store.write(
            folder / split,
            read_transformed([f"{tiny.folder}/Split-{split}/*"], "jpeg", 64, 64, 3),
        )
        for split in ("train", "eval")
    ]


def fit(splits: list[store.Stored], plan: TrainConfig, folder: Path) -> tuple[Network, list[dict]]:
    keras.utils.set_random_seed(plan.seed)
    network = build_network(plan, 3)
    return network, train(network, *splits, CLASSES, plan, folder / "work", folder / "logs")


def test_images_are_read_in_order_from_plain_and_gzipped_files(tiny, splits):
    train_images, eval_images = splits
    assert (len(train_images), train_images.row) == (64, (64, 64, 1))
    assert eval_images.dtype == np.uint8
    first = eval_images.take([0])[0, :, :, 0].astype(float)
    left, right = first[20:40, 5:25].mean(), first[20:40, 40:60].mean()
    assert [left > 130, right > 130] == [bool(v) for v in eval_images.labels[0, :2]]


def test_from_scratch_learns_and_leaves_the_class_without_positives_out(splits, tmp_path):
    plan = recipe(epochs=12, dropout=0.2)
    _, history = fit(splits, plan, tmp_path)
    best = max(history, key=lambda logs: logs["val_auc"])
    assert best["val_auc"] > 0.9
    assert best["val_auc"] == pytest.approx((best["val_auc_Left"] + best["val_auc_Right"]) / 2)
    assert "val_auc_Absent" not in best


def test_the_best_epoch_is_restored_and_patience_ends_training(splits, tmp_path):
    network, history = fit(splits, recipe(epochs=9, patience=2, learning_rate=0.1), tmp_path)
    aucs = [logs["val_auc"] for logs in history]
    best = int(np.argmax(aucs))
    assert len(history) == min(9, best + 3)
    pixels = to_pixels(splits[1].take(range(24)))
    logits = network.classifier.predict(pixels, verbose=0)
    assert np.nanmean(per_class_auc(splits[1].labels, logits)) == pytest.approx(aucs[best])


@pytest.mark.parametrize("cached_views", [0, 2])
def test_frozen_layers_stay_and_others_move(splits, tmp_path, cached_views):
    plan = recipe(finetune_from="conv2", cached_views=cached_views, learning_rate=1e-2)
    keras.utils.set_random_seed(0)
    before = {
        layer.name: [w.copy() for w in layer.get_weights()]
        for layer in build_network(plan, 3).full.layers
    }
    after, _ = fit(splits, plan, tmp_path)
    moved = {
        layer.name
        for layer in after.full.layers
        for old, new in zip(before[layer.name], layer.get_weights(), strict=True)
        if not np.array_equal(old, new)
    }
    # Batch norms of the frozen part keep their statistics too: conv1_bn comes just before.
    assert moved & {"conv0", "conv0_bn", "conv1", "conv1_bn", "head_broadcast"} == set()
    assert {"conv2", "conv2_bn", "head_bn", "logits"} <= moved


def test_frozen_batch_norms_and_head_only(splits, tmp_path):
    kept = recipe(finetune_from="conv2", batch_norm="frozen")
    network = build_network(kept, 3)
    assert [layer.trainable for layer in network.full.layers if layer.name.endswith("_bn")] == [
        layer.name == "head_bn" for layer in network.full.layers if layer.name.endswith("_bn")
    ]
    head_only = build_network(recipe(finetune_from="head"), 3)
    assert all(v.path.startswith(("head_", "logits")) for v in head_only.tail.trainable_variables)
    assert head_only.tuned == []


def test_the_same_seed_gives_the_same_result(splits, tmp_path):
    once, again = (fit(splits, recipe(), tmp_path / name)[1] for name in "ab")
    assert once[0]["loss"] == pytest.approx(again[0]["loss"], abs=1e-4)
    assert once[0]["val_loss"] == pytest.approx(again[0]["val_loss"], abs=1e-4)


def test_unknown_layer_is_named():
    with pytest.raises(CxrflowError, match=r"finetune_from.*'conv_99'.*conv2_relu"):
        build_network(recipe(finetune_from="conv_99"), 3)


def test_a_layer_inside_a_branch_is_refused(monkeypatch):
    from components.train import network

    pixels = keras.Input((8, 8, 3))
    stem = keras.layers.Conv2D(4, 1, name="stem")(pixels)
    side = keras.layers.Conv2D(4, 1, name="side")(keras.layers.ReLU()(stem))
    residual = keras.Model(pixels, keras.layers.Add()([stem, side]), name="Residual")
    monkeypatch.setattr(network, "backbone_with_weights", lambda *_: residual)
    with pytest.raises(CxrflowError, match="'side' lies inside a branch of Residual"):
        build_network(recipe(finetune_from="side"), 3)
    assert build_network(recipe(finetune_from="stem"), 3).frozen is not None


def test_eval_split_without_any_gradable_class(splits, tmp_path):
    train_images, eval_images = splits
    nothing = replace(eval_images, labels=np.zeros_like(eval_images.labels))
    with pytest.raises(CxrflowError, match="eval split"):
        fit([train_images, nothing], recipe(), tmp_path)


def test_divergence_is_said(splits, tmp_path):
    plan = recipe(optimizer="sgd", learning_rate=1e30, epochs=2)
    with pytest.raises(CxrflowError, match=r"diverged in epoch .*train\.learning_rate"):
        fit(splits, plan, tmp_path)


def test_no_examples(tmp_path):
    with pytest.raises(CxrflowError, match="no transformed examples"):
        list(read_transformed([f"{tmp_path}/Split-train/*"], "jpeg", 64, 64, 3))


@pytest.mark.parametrize(("examples", "steps"), [(1, 1), (16, 1), (31, 1), (32, 2), (100, 6)])
def test_steps_are_full_batches(examples, steps):
    assert steps_per_epoch(examples, 16) == steps
