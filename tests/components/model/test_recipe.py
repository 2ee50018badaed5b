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
    ],
)
def test_refused(changes, message):
    with pytest.raises(CxrflowError, match=message):
        load("nih", [f"train.{change}" for change in changes])
