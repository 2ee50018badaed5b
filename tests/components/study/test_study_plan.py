"""Grids, recipes of trials, and settings that can't be."""

from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cxrflow.components.model.recipe import TrainConfig
from cxrflow.components.study.plan import check, grid, trial_recipe
from cxrflow.components.study.settings import EXPERIMENTS, OptimizerConfig, StudyConfig
from cxrflow.schema.errors import CxrflowError


def recipes(experiment: str, study: StudyConfig, base: TrainConfig) -> list[TrainConfig]:
    axes = grid(experiment, study, 512)
    return [
        trial_recipe(experiment, dict(zip(axes, values, strict=True)), study, base)
        for values in product(*axes.values())
    ]


def test_the_default_grids_are_the_studys():
    study, base = StudyConfig(), TrainConfig(image_size=224)
    assert check(EXPERIMENTS, study, base, 512) == 5 + 45 + 6 + 4 + 12 + 18
    assert [(r.optimizer, r.learning_rate) for r in recipes("optimizer", study, base)] == [
        ("sgd", 0.1),
        ("sgd", 0.1),
        ("adagrad", 0.01),
        ("adadelta", 1.0),
        ("adam", 0.001),
    ]
    assert [r.momentum for r in recipes("optimizer", study, base)][:2] == [0, 0.9]
    batches = recipes("learning_rate_batch", study, base)
    assert {r.batch_size * r.accumulation_steps for r in batches} == {512, 256, 128, 64, 32}
    assert [r.image_size for r in recipes("image_size", study, base)] == [
        512,
        256,
        224,
        192,
        128,
        64,
    ]


def test_a_trial_changes_what_its_grid_names_and_its_budget_only():
    study, base = StudyConfig(), TrainConfig(image_size=224, dropout=0.3)
    (trial, *_) = recipes("image_size", study, base)
    changed = {k for k, v in vars(base).items() if vars(trial)[k] != v}
    assert changed == {"image_size", "images_seen", "epoch_images", "patience"}
    assert (trial.images_seen, trial.epoch_images, trial.patience) == (327_680, 32_768, 10)


@pytest.mark.parametrize("experiment", EXPERIMENTS)
def test_no_trial_sees_images_before_the_first_that_is_counted(experiment):
    base = TrainConfig(image_size=224, head_epochs=1)
    assert {r.head_epochs for r in recipes(experiment, StudyConfig(), base)} == {0}


def test_both_colors_start_from_random_weights():
    base = TrainConfig(image_size=224, finetune_from="head", cached_views=2)
    planned = recipes("color", StudyConfig(), base)
    assert [(r.color, r.image_size) for r in planned] == [
        ("rgb", 256),
        ("rgb", 224),
        ("gray", 256),
        ("gray", 224),
    ]
    assert {(r.weights, r.finetune_from, r.cached_views) for r in planned} == {("none", "", 0)}


@given(
    batch=st.sampled_from([8, 16, 32]),
    accumulation=st.lists(st.integers(1, 16), min_size=1, max_size=3, unique=True),
    evaluations=st.integers(1, 12),
    images=st.integers(1, 100_000),
)
def test_a_plan_is_refused_or_gives_equal_images_at_every_evaluation(
    batch, accumulation, evaluations, images
):
    study = StudyConfig(
        images_seen=images,
        evaluations=evaluations,
        batch_size=batch,
        accumulation_steps=tuple(accumulation),
    )
    try:
        planned = recipes("learning_rate_batch", study, TrainConfig(image_size=224))
    except CxrflowError:
        return
    assert {r.images_seen for r in planned} == {images}
    for trial in planned:
        assert trial.epoch_images * evaluations == images
        assert trial.epoch_images % (trial.batch_size * trial.accumulation_steps) == 0


@pytest.mark.parametrize(
    ("changes", "experiment", "message"),
    [
        ({"images_seen": 1000}, "optimizer", "study.images_seen 1000 .* set it to 960"),
        ({"images_seen": 3200}, "learning_rate_batch", "updates of 512 images .* set it to 5120"),
        ({"heads": ("attention", "none")}, "head", "head, seed=0, head=none: train.head: "),
        (
            {"optimizers": {"x": OptimizerConfig(optimizer="lion", learning_rate=1)}},
            "optimizer",
            "optimizer, optimizer=x: train.optimizer: ",
        ),
        ({"image_sizes": (1024,)}, "image_size", "every image size of image_size is above"),
    ],
)
def test_what_cannot_be_trained_is_said_before_anything_runs(changes, experiment, message):
    with pytest.raises(CxrflowError, match=message):
        check([experiment], StudyConfig(**changes), TrainConfig(image_size=224), 512)


def test_a_probe_has_no_steps_to_study():
    with pytest.raises(CxrflowError, match=r"optimizer: a probe .*isn't trained in steps"):
        check(["optimizer"], StudyConfig(), TrainConfig(image_size=224, head="probe"), 512)


def test_a_backbone_of_the_experiment_has_no_layers_of_the_recipes_own():
    recipe = TrainConfig(
        backbone="MobileNetV2",
        alpha=0.5,
        image_size=128,
        finetune_from="block_13_expand",
        feature_layers=("block_6_expand_relu",),
    )

    def of(backbone):
        return trial_recipe("backbone", {"seed": 1, "backbone": backbone}, StudyConfig(), recipe)

    own, other, fixed = of("MobileNetV2"), of("MobileNet"), of("VGG19")
    assert (own.finetune_from, own.feature_layers) == ("block_13_expand", ("block_6_expand_relu",))
    assert (other.finetune_from, other.feature_layers, other.alpha) == ("default", (), 0.5)
    assert (fixed.finetune_from, fixed.alpha, fixed.seed) == ("default", 1.0, 1)
    with pytest.raises(CxrflowError, match=r"backbone=AlexNet: train\.backbone: "):
        of("AlexNet")
