import json

import pytest

from cxrflow.components.model.recipe import TrainConfig
from cxrflow.schema.errors import CxrflowError

pytestmark = pytest.mark.tf

SMALL = {"alpha": 0.25, "weights": "none", "image_size": 64}


def test_sizes():
    from cxrflow.components.train.check import NetworkSize, check_recipe

    # The study's figures for its attention head on MobileNet.
    plan = TrainConfig(weights="none", finetune_from="head")
    assert check_recipe("one", plan, 13) == NetworkSize(parameters=3_502_734, trained=270_798)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"finetune_from": "conv_99"}, "models.big: train.finetune_from: MobileNet has no layer"),
        ({"feature_layers": ("relu",)}, "models.big: train.feature_layers: "),
        ({"cut_at": "conv_99"}, "models.big: train.cut_at: MobileNet has no layer"),
        (
            {"head": "probe", "cell_layers": ("conv_pw_5_relu",)},
            "models.big: train.cell_layers: conv_pw_5_relu is none of the layers that the probe",
        ),
        (
            {"head": "probe", "cells": 3, "cell_layers": ("conv_pw_13_relu",)},
            r"models.big: train.feature_layers: .*\(2, 2, 256\), is no map of at least 3 × 3",
        ),
        ({"weights": "imagenet", "weights_dir": "EMPTY"}, "models.big: .*2_5_224.* is missing"),
        ({"weights": "imagenet", "weights_dir": "WRONG"}, "models.big: .*its layer conv1 "),
    ],
)
def test_what_cannot_be_built_is_said_with_the_members_name(
    changes, said, tmp_path, save_legacy_h5
):
    from cxrflow.components.model.backbones import build_backbone
    from cxrflow.components.train.check import check_recipes

    (tmp_path / "EMPTY").mkdir()
    save_legacy_h5(build_backbone("MobileNet", 64, 0.5), tmp_path / "WRONG")
    if "weights_dir" in changes:
        changes = {**changes, "weights_dir": str(tmp_path / changes["weights_dir"])}
    good = TrainConfig(**SMALL)
    with pytest.raises(CxrflowError, match=said) as error:
        check_recipes({"small": good, "big": TrainConfig(**{**SMALL, **changes})}, 3)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("changes", "said"),
    [({}, False), ({"cross_fit": 3}, True), ({"cross_fit": 3, "head": "probe"}, False)],
)
def test_it_says_that_a_mean_of_networks_is_calibrated_by_single_ones(changes, said, caplog):
    from cxrflow.components.train.check import check_recipes

    check_recipes({"one": TrainConfig(**SMALL, **changes)}, 3)
    assert ("models.one: where cross_fit trains a network" in caplog.text) is said


def test_it_says_where_gpus_stay_idle(monkeypatch, caplog):
    """Before anything is read, as the Trainer will."""
    from cxrflow.components.train import check

    monkeypatch.setattr(check, "count_gpus", lambda: 3)
    recipes = {
        "all": TrainConfig(**SMALL, batch_size=3),
        "some": TrainConfig(**SMALL, batch_size=8),
        "one": TrainConfig(**SMALL, batch_size=3, accumulation_steps=2),
        "probe": TrainConfig(**SMALL, head="probe", batch_size=4),
    }
    check.check_recipes(recipes, 3)
    assert [line for line in caplog.messages if "GPUs" in line] == [
        "models.some trains on 2 of 3 GPUs, since train.batch_size 8 can't be shared by all; with "
        "`cxrflow run --jobs 3` several members train at the same time, each on one",
        "models.one trains on 1 of 3 GPUs, since train.accumulation_steps 2 goes with one; with "
        "`cxrflow run --jobs 3` several members train at the same time, each on one",
    ]


@pytest.mark.parametrize(
    ("probe", "warned"),
    [
        ({}, False),
        ({"feature_layers": ("conv_pw_5_relu",)}, False),
        ({"image_size": 32}, True),
        ({"cut_at": "conv_pw_6_relu"}, True),
        ({"alpha": 0.5}, True),
    ],
)
def test_a_head_on_frozen_features_without_a_probe_of_the_same_network_is_told(
    probe, warned, monkeypatch, caplog
):
    from cxrflow.components.train import check

    monkeypatch.setattr(check, "check_recipe", lambda *_: check.NetworkSize(1, 1))
    recipes = {
        "head": TrainConfig(**SMALL, finetune_from="head"),
        "probe": TrainConfig(**{**SMALL, **probe}, head="probe"),
    }
    check.check_recipes(recipes, 3)
    assert ("without a probe (head: probe) of the same MobileNet" in caplog.text) == warned


def test_equal_networks_are_built_once(monkeypatch):
    from cxrflow.components.model import network
    from cxrflow.components.train import check

    built = []
    real = network.build_network
    monkeypatch.setattr(
        network, "build_network", lambda recipe, classes: built.append(1) or real(recipe, classes)
    )
    recipes = {
        "a": TrainConfig(**SMALL),
        "b": TrainConfig(**SMALL, seed=1, learning_rate=0.1, finetune_from=""),
        "c": TrainConfig(**SMALL, head="lse"),
    }
    sizes = check.check_recipes(recipes, 3)
    assert len(built) == 2
    assert sizes["a"] == sizes["b"] != sizes["c"]


def strange_backbone(**arguments):
    """A small network with an operation of TensorFlow that LiteRT hasn't."""
    import keras
    import tensorflow as tf

    from tests.support.tiny_training import tiny_backbone

    class InverseErrorFunction(keras.layers.Layer):
        def call(self, inputs):
            return tf.math.erfinv(tf.tanh(inputs))

    network = tiny_backbone(**arguments)
    return keras.Model(network.inputs, InverseErrorFunction()(network.output))


def test_what_litert_cannot_be_made_of_is_said_before_any_training(monkeypatch):
    import keras

    from cxrflow.components.train.check import check_recipes

    monkeypatch.setattr(keras.applications.mobilenet_v2, "MobileNetV2", strange_backbone)
    small = {**SMALL, "alpha": 1.0}
    recipes = {
        "a": TrainConfig(**small, backbone="MobileNetV2"),
        "b": TrainConfig(**small, backbone="MobileNetV2", seed=1),
    }
    check_recipes(recipes, 3)  # no device needs it
    with pytest.raises(CxrflowError) as error:
        check_recipes(recipes, 3, exported=("b",))  # built once, for a
    assert str(error.value) == (
        "models.a: MobileNetV2 with head attention can't become a LiteRT model: LiteRT has no "
        "operation Erfinv; take another backbone or head, name a member that converts in "
        "edge.model, or set edge.enabled to false"
    )


@pytest.mark.parametrize("changes", [{}, {"head": "simple", "test_time_views": 2}])
def test_what_converts_passes(changes, monkeypatch):
    import keras

    from cxrflow.components.train.check import check_recipe
    from tests.support.tiny_training import tiny_backbone

    monkeypatch.setattr(keras.applications.mobilenet, "MobileNet", tiny_backbone)
    check_recipe("one", TrainConfig(**SMALL, **changes), 3, exported=True)


def test_node(tmp_path):
    from cxrflow.components.artifacts import RecipeReport
    from cxrflow.components.train.component import RecipeCheck
    from cxrflow.components.train.settings import RecipeCheckSettings

    recipes = {"m": TrainConfig(**SMALL, finetune_from="head")}
    report = RecipeReport()
    report.uri = str(tmp_path / "report")

    def check(floor: TrainConfig) -> None:
        settings = RecipeCheckSettings(
            recipes=recipes, floor=floor, classes=3, exported=(), weights={}
        )
        node = RecipeCheck(settings, "1")
        executor = node.EXECUTOR_SPEC.executor_class()
        executor.Do({}, {"report": [report]}, node.exec_properties)

    check(TrainConfig(**SMALL, head="probe"))
    written = json.loads((tmp_path / "report" / "networks.json").read_text())
    assert set(written["m"]) == {"parameters", "trained"}
    with pytest.raises(CxrflowError, match=r"^floor: train\.weights_dir: .*2_5_224.* is missing"):
        check(TrainConfig(**{**SMALL, "weights": "imagenet"}, weights_dir=str(tmp_path)))
