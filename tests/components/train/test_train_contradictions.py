"""Recipes that contradict themselves are refused as they are loaded."""

import pytest

from cxrflow.pipeline.config import load
from cxrflow.schema.errors import CxrflowError


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (["optimizer=adamw"], "adamw is adam with weight_decay"),
        (["optimizer=lion"], "train.optimizer: .*'adagrad'.*'lion'"),
        (["momentum=1"], "train.momentum"),
        (["images_seen=20"], "images_seen 20 is less than one update"),
        (["images_seen=60", "accumulation_steps=2"], "batch_size 32 × accumulation_steps 2"),
        (["accumulation_steps=0"], "train.accumulation_steps"),
        (["cached_views=2"], "cached_views .*set finetune_from"),
        (["finetune_from=head", "layer_decay=.9"], "layer_decay change nothing"),
        (["finetune_from=head", "backbone_lr_scale=.1"], "backbone_lr_scale and"),
        (["finetune_from=head", "head_epochs=2"], "head_epochs change nothing"),
        (["layer_decay=1.1"], "train.layer_decay"),
        (["layer_decay=0"], "train.layer_decay"),
        (["loss=mse"], "train.loss: .*'focal'.*'mse'"),
        (["focal_gamma=0"], "train.focal_gamma"),
        (["precision=float16"], "train.precision"),
    ],
)
def test_refused(changes, message):
    with pytest.raises(CxrflowError, match=message) as error:
        load(None, [f"train.{change}" for change in changes])
    assert "\n" not in str(error.value)


def test_a_recipe_with_everything():
    everything = {
        "optimizer": "adamw",
        "weight_decay": 0.01,
        "accumulation_steps": 4,
        "images_seen": 10_000,
        "backbone_lr_scale": 0.1,
        "layer_decay": 0.9,
        "loss": "wcel",
        "flip": True,
        "deterministic": True,
        "precision": "mixed_bfloat16",
    }
    recipe = load(None, [f"train.{key}={value}" for key, value in everything.items()]).train
    assert {key: getattr(recipe, key) for key in everything} == everything
