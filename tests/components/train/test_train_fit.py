"""Training on stored images, without files of TFX."""

import logging
from dataclasses import replace
from pathlib import Path

import keras
import numpy as np
import pytest

from cxrflow.components.images.pixels import to_pixels
from cxrflow.components.model.metrics import per_class_auc
from cxrflow.components.model.network import Network, build_network
from cxrflow.components.model.recipe import TrainConfig
from cxrflow.components.train import store
from cxrflow.components.train.fit import train
from cxrflow.components.train.inputs import Steps, count_steps, read_transformed
from cxrflow.schema.errors import CxrflowError
from tests.support.tiny_training import CLASSES, recipe

pytestmark = [pytest.mark.tf, pytest.mark.usefixtures("tiny_backbone")]


@pytest.fixture(scope="module")
def splits(image_folder) -> list[store.Stored]:
    return [store.read(image_folder / split) for split in ("train", "eval")]


def fit(splits: list[store.Stored], plan: TrainConfig, folder: Path) -> tuple[Network, list[dict]]:
    keras.utils.set_random_seed(plan.seed)
    network = build_network(plan, 3)
    return network, train(network, *splits, CLASSES, plan, folder / "work", folder / "logs")


def test_images_are_read_in_order(tiny, splits):
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


def few(stored: store.Stored, images: int) -> store.Stored:
    """The first images only."""
    return replace(stored, labels=stored.labels[:images])


def weights_of(network: Network) -> list[np.ndarray]:
    return network.full.get_weights()


def test_accumulated_batches_train_as_one_large_batch(splits, tmp_path):
    # Neither dropout nor batch norm, which see single batches.
    plain = {"head": "simple", "batch_norm": "frozen", "dropout": 0.0, "rotation": 0, "shift": 0}
    plain |= {"zoom": 0, "contrast": 0, "epochs": 2, "layer_decay": 0.5, "weight_decay": 0.1}
    large, _ = fit(splits, recipe(**plain, batch_size=32), tmp_path / "large")
    small = recipe(**plain, batch_size=8, accumulation_steps=4)
    accumulated, _ = fit(splits, small, tmp_path / "small")
    for one, other in zip(weights_of(large), weights_of(accumulated), strict=True):
        np.testing.assert_allclose(one, other, atol=2e-4)


def test_training_ends_after_the_images_asked_for(splits, tmp_path, caplog):
    # 7 batches of 16: an epoch of 4 and one of 3, with an evaluation each.
    with caplog.at_level("INFO", logger="cxrflow.progress"):
        logging.getLogger("cxrflow.progress").propagate = True
        _, history = fit(splits, recipe(images_seen=112, epochs=9), tmp_path)
        logging.getLogger("cxrflow.progress").propagate = False
    assert len(history) == 2
    assert [r.done for r in caplog.records if getattr(r, "unit", "") == "steps"][-1] == 7


# Images in train and eval, changes of the recipe, epochs or the error.
@pytest.mark.parametrize(
    ("images", "changes", "outcome"),
    [
        ((1, 24), {}, 2),
        ((64, 2), {}, 2),  # one image of each kind
        ((64, 1), {}, "no class has both positive and negative images in the eval split"),
        ((5, 24), {"batch_size": 64}, 2),  # a batch of all there are
        ((5, 24), {"batch_size": 4, "accumulation_steps": 2}, "5 training images has no update"),
        ((5, 24), {"loss": "wcel", "cached_views": 3, "finetune_from": "head"}, 2),
        ((1, 24), {"images_seen": 16}, 16),  # as often as asked
    ],
)
def test_degenerate_data(splits, tmp_path, images, changes, outcome):
    data = [few(split, count) for split, count in zip(splits, images, strict=True)]
    data[1] = replace(data[1], labels=data[1].labels[:, [0, 0, 2]])
    data[1].labels[: images[1] // 2, 0] = 1 - data[1].labels[images[1] // 2, 0]
    plan = recipe(epochs=2, patience=99, dropout=0.0)
    plan = replace(plan, **changes)
    if isinstance(outcome, str):
        with pytest.raises(CxrflowError, match=outcome):
            fit(data, plan, tmp_path)
    else:
        _, history = fit(data, plan, tmp_path)
        assert len(history) == outcome
        assert np.isfinite([logs["loss"] for logs in history]).all()


def test_the_same_seed_gives_the_same_result(splits, tmp_path):
    once, again = (fit(splits, recipe(), tmp_path / name)[1] for name in "ab")
    assert once[0]["loss"] == pytest.approx(again[0]["loss"], abs=1e-4)
    assert once[0]["val_loss"] == pytest.approx(again[0]["val_loss"], abs=1e-4)


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


# 100 images.
@pytest.mark.parametrize(
    ("changes", "epoch", "total"),
    [
        ({"batch_size": 16}, 6, 12),  # full batches only
        ({"batch_size": 128}, 1, 2),  # a batch of all
        ({"batch_size": 16, "accumulation_steps": 4}, 4, 8),  # whole updates only
        ({"batch_size": 25, "accumulation_steps": 4}, 4, 8),
        # As many images whatever the batch; the last of the epochs is shorter.
        ({"batch_size": 16, "images_seen": 320}, 6, 20),
        ({"batch_size": 64, "images_seen": 320}, 1, 5),
        ({"batch_size": 8, "accumulation_steps": 4, "images_seen": 320}, 12, 40),
        ({"batch_size": 128, "images_seen": 350}, 1, 4),  # batches of 100
        ({"batch_size": 16, "images_seen": 16}, 6, 1),
    ],
)
def test_steps(changes, epoch, total):
    steps = count_steps(TrainConfig(epochs=2, **changes), 100)
    assert (steps.epoch, steps.total, steps.epochs) == (epoch, total, -(-total // epoch))


def test_an_epoch_without_an_update_is_refused():
    with pytest.raises(CxrflowError, match=r"100 training images .*accumulation_steps 4 .*size 32"):
        count_steps(TrainConfig(batch_size=32, accumulation_steps=4), 100)


def test_one_image_makes_one_step():
    assert count_steps(TrainConfig(epochs=3), 1) == Steps(1, 1, 3)
