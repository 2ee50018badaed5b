"""What a recipe knows of its backbone."""

import pytest

from cxrflow.components.model.backbones import BACKBONES
from cxrflow.components.model.recipe import TrainConfig
from cxrflow.pipeline.config import load
from cxrflow.schema.errors import CxrflowError


@pytest.mark.parametrize("name", BACKBONES)
def test_the_image_size_is_the_backbones_own_unless_asked(name):
    assert TrainConfig(backbone=name).image_size == BACKBONES[name].image_size
    assert TrainConfig(backbone=name, image_size=320).image_size == 320


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (["backbone=Vgg"], "train.backbone: .*'VGG19'.*'Vgg'"),
        (["head=none"], "train.head: .*'class_attention'.*'none'"),
        (["backbone=InceptionV3", "image_size=64"], "64 is too small for InceptionV3.*75"),
        (["image_size=5000"], "train.image_size"),
        (["backbone=ResNet50", "alpha=.5"], "alpha 0.5: ResNet50 has no width multiplier"),
        (["color=gray"], "color gray .*set weights to none"),
        (["head=probe", "finetune_from=conv_dw_12"], "finetune_from conv_dw_12: a probe leaves"),
        (["head=probe", "normal_weight=.25"], "normal_weight: a probe gives every image"),
        (["head=probe", "loss=focal"], "loss focal: a probe is logistic regression"),
        (["head=probe", "finetune_from=head", "cached_views=2"], "cached_views .*a probe sees"),
        (["head=probe", "test_time_views=2"], "test_time_views: a probe sees"),
        (["cell_layers=[conv_pw_5_relu]"], "cell_layers are for head probe, not attention"),
        (["head=probe", "cross_fit=1"], "train.cross_fit: should be a number of folds from 2"),
        (["head=probe", "cross_fit=some"], "train.cross_fit: should be a number of folds.*'some'"),
        (["head=probe", "cells=1"], "train.cells"),
    ],
)
def test_refused(changes, message):
    with pytest.raises(CxrflowError, match=message):
        load(None, [f"train.{change}" for change in changes])


def test_a_probe_says_what_of_its_recipe_changes_nothing():
    assert TrainConfig(head="probe", image_size=384, cross_fit="auto").unused == []
    assert TrainConfig(head="probe", epochs=3, rotation=0).unused == ["epochs", "rotation"]
    assert TrainConfig(epochs=3).unused == []
