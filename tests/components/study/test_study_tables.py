"""Pages from hand-made trials."""

import dataclasses
import json

import pytest

from cxrflow.components.model.recipe import TrainConfig
from cxrflow.components.study.results import (
    ExperimentResult,
    Point,
    TrialResult,
    as_frame,
    read_results,
    write_results,
)
from cxrflow.components.study.settings import StudyConfig
from cxrflow.components.study.tables import page, winner
from cxrflow.schema.errors import CxrflowError

STUDY = StudyConfig(
    images_seen=200, evaluations=2, learning_rates=(1e-3, 1e-1), accumulation_steps=(2, 1)
)


def trial(losses: tuple[float, float], aucs: tuple[float, float], **values: object) -> TrialResult:
    curve = tuple(Point(100 * (i + 1), losses[i], aucs[i]) for i in range(2))
    return TrialResult(values, curve, seconds=3.2)


def failed(**values: object) -> TrialResult:
    return TrialResult(values, (), seconds=1.0, failure="training diverged in epoch 1")


def result(experiment: str, *trials: TrialResult, synthetic: bool = False) -> ExperimentResult:
    recipe = json.loads(json.dumps(dataclasses.asdict(TrainConfig(image_size=224))))
    return ExperimentResult(experiment, recipe, 200, 640, 194, synthetic, trials)


def row(text: str, name: str, table: int = 0) -> list[str]:
    found = [line for line in text.splitlines() if line.startswith(f"| {name} |")]
    return [cell.strip() for cell in found[table].strip("|").split("|")]


def test_optimizers_beside_the_studys():
    found = result(
        "optimizer",
        trial((0.5, 0.6), (0.7, 0.65), optimizer="adam"),
        trial((0.5, 0.4), (0.6, 0.69), optimizer="adagrad"),
        failed(optimizer="sgd"),
    )
    text = page(found, STUDY)
    study = ["12", "0.3031", "0.2947 (7)", "0.2976"]
    assert row(text, "adam") == ["adam", *study, "0.5000", "0.5000 (100)", "0.6000", "0.7000", "3"]
    assert row(text, "sgd")[5:] == ["failed", "–", "–", "–", "–"]
    assert row(text, "adadelta")[5:] == ["–"] * 5  # not tried here
    assert "- optimizer sgd: training diverged in epoch 1" in text
    assert "Trials leave out train.head_epochs" not in text
    found.recipe["head_epochs"] = 1
    assert "Trials leave out train.head_epochs." in page(found, STUDY)
    assert "sees 200 images" in text and "eval split (194 images)" in text
    assert "not reset between optimizers" in text
    assert "Synthetic" not in text
    assert winner(found, STUDY) == (
        "--set train.optimizer=adam --set train.learning_rate=0.001 --set train.momentum=0.0"
    )


def test_synthetic_figures_say_so():
    text = page(result("optimizer", trial((1, 1), (1, 1), optimizer="adam"), synthetic=True), STUDY)
    assert "Synthetic X-rays" in text


def test_learning_rates_by_images_an_update():
    found = result(
        "learning_rate_batch",
        trial((0.5, 0.6), (0.7, 0.6), learning_rate=1e-3, accumulation_steps=2),
        trial((0.5, 0.3), (0.6, 0.8), learning_rate=1e-3, accumulation_steps=1),
        failed(learning_rate=1e-1, accumulation_steps=2),
    )
    text = page(found, STUDY)
    header = "learning rate | 512 2019 | 512 here | 256 2019 | 256 here | 128 2019 | 128 here | 64"
    assert header in text
    last = ["0.3060", "0.6000", "0.3052", "0.3000"]
    assert row(text, "0.001", 0)[7:] == last
    assert row(text, "0.001", 1)[7:] == ["0.2939", "0.5000", "0.2933", "0.3000"]
    assert row(text, "0.001", 2) == ["0.001", "0.7000", "0.8000"]
    assert row(text, "0.1", 0)[1:3] == ["2.5973", "–"]
    assert row(text, "0.1", 0)[7:] == ["4.8008", "failed", "2.0935", "–"]
    assert "--set train.learning_rate=0.001 --set train.accumulation_steps=1" in text


def test_image_sizes_and_colours_by_evaluation():
    sizes = result(
        "image_size",
        trial((0.5, 0.6), (0.7, 0.6), image_size=256),
        trial((0.5, 0.3), (0.6, 0.8), image_size=64),
    )
    text = page(sizes, STUDY)
    first = row(text, "1")
    assert first[:2] == ["1", "100"]
    assert first[2:] == [
        *("0.3338", "–", "0.3277", "–", "0.3255", "0.5000", "0.3168", "–"),
        *("0.3303", "–", "0.3334", "–", "0.3335", "0.5000"),
    ]
    assert row(text, "10")[:2] == ["10", "–"]
    assert row(text, "10")[8] == "–"  # the study's 224 had stopped
    assert "Left out here, above the stored images: 1024, 512, 224, 192, 128 px" in text
    assert row(text, "64") == ["64", "0.3000", "0.8000", "3"]
    colors = result("color", trial((0.5, 0.6), (0.7, 0.6), color="gray", image_size=64))
    text = page(colors, STUDY)
    assert "gray 224 2019 | gray 224 here | gray 64 2019 | gray 64 here |" in text
    assert row(text, "2")[-4:] == ["0.3390", "–", "–", "0.6000"]


def test_heads_are_paired_by_seed():
    found = result(
        "head",
        trial((0.5, 0.5), (0.70, 0.6), seed=0, head="attention"),
        trial((0.4, 0.5), (0.68, 0.6), seed=0, head="simple"),
        trial((0.5, 0.4), (0.74, 0.6), seed=1, head="attention"),
        trial((0.5, 0.5), (0.70, 0.6), seed=1, head="simple"),
        failed(seed=2, head="attention"),
        trial((0.1, 0.1), (0.99, 0.99), seed=2, head="simple"),
    )
    study = dataclasses.replace(STUDY, heads=("attention", "simple"), seeds=(0, 1, 2))
    text = page(found, study)
    assert row(text, "1") == ["1", "0.7400 / 0.4000", "0.7000 / 0.5000"]
    assert row(text, "2") == ["2", "failed", "0.9900 / 0.1000"]
    assert row(text, "mean") == ["mean", "0.7200 / 0.4500", "0.6900 / 0.4500"]
    assert row(text, "standard deviation")[2] == "0.0141 / 0.0707"
    # AUC: .02 and .04; loss: .1 and -.1
    # Student's t of one degree of freedom: 12.7062 × .0141421 / √2 = .1271, and ten times that
    assert row(text, "attention − simple")[1:] == [
        *("+0.0300", "0.0141", "-0.0971 to +0.1571"),
        *("+0.0000", "0.1414", "-1.2706 to +1.2706"),
    ]
    assert "over the 2 seeds that all of them have" in text
    assert "Fewer than 3: too few to tell a difference from chance." in text
    assert row(text, "2019, last epoch: val_loss")[1:] == ["0.3425", "0.3427"]
    assert winner(found, study) == "--set train.head=attention"


def test_backbones_stand_beside_those_of_2019_and_have_mean_curves():
    found = result(
        "backbone",
        trial((0.5, 0.4), (0.70, 0.6), seed=0, backbone="VGG19"),
        trial((0.7, 0.5), (0.68, 0.7), seed=0, backbone="MobileNet"),
        trial((0.3, 0.2), (0.74, 0.6), seed=1, backbone="VGG19"),
        trial((0.5, 0.4), (0.70, 0.6), seed=1, backbone="MobileNet"),
    )
    study = dataclasses.replace(STUDY, backbones=("VGG19", "MobileNet"), seeds=(0, 1))
    text = page(found, study)
    assert row(text, "2019, last epoch: simple head")[1:] == ["0.3310", "0.3427"]
    assert row(text, "2019, last epoch: attention head")[1:] == ["0.3139", "0.3425"]
    curve = text.partition("by the images seen")[2].splitlines()
    assert [line.split(" | ")[1:] for line in curve[4:6]] == [
        ["0.4000", "0.6000 |"],
        ["0.3000", "0.4500 |"],
    ]
    assert row(text, "VGG19 − MobileNet")[1:] == [
        *("+0.0200", "0.0283", "-0.2341 to +0.2741"),  # 12.7062 × .0282843 / √2 = .2541
        *("-0.1500", "0.0707", "-0.7853 to +0.4853"),
    ]
    assert winner(found, study) == "--set train.backbone=VGG19"


def test_the_loss_of_a_training_that_diverged_is_short():
    found = result("head", trial((0.5, 9e30), (0.7, 0.6), seed=0, head="simple"))
    text = page(found, dataclasses.replace(STUDY, heads=("simple",), seeds=(0,)))
    assert row(text, "200") == ["200", "9.0e+30"]


def test_one_seed_has_no_spread():
    found = result("head", trial((0.5, 0.5), (0.7, 0.6), seed=0, head="attention"))
    study = dataclasses.replace(STUDY, heads=("attention",), seeds=(0,))
    assert "Fewer than 3" in page(found, study)
    assert row(page(found, study), "standard deviation")[1] == "– / –"


@pytest.mark.parametrize(
    "trials", [(failed(optimizer="sgd"),), ()], ids=["all failed", "none started"]
)
def test_without_a_trial_there_is_no_winner(trials):
    found = result("optimizer", *trials)
    assert winner(found, STUDY) == ""
    assert "No setting to choose" in page(found, STUDY)


def test_a_head_that_always_fails_does_not_hide_the_others():
    found = result(
        "head",
        failed(seed=0, head="lse"),
        trial((0.5, 0.4), (0.7, 0.8), seed=0, head="simple"),
        failed(seed=1, head="lse"),
        trial((0.5, 0.4), (0.7, 0.6), seed=1, head="simple"),
    )
    study = dataclasses.replace(STUDY, heads=("lse", "simple"), seeds=(0, 1))
    assert row(page(found, study), "mean") == ["mean", "–", "0.7500 / 0.4000"]
    assert winner(found, study) == "--set train.head=simple"


def test_results_come_back_from_disk_and_as_a_table(tmp_path):
    found = result(
        "head",
        trial((0.5, 0.4), (0.7, 0.8), seed=0, head="simple"),
        failed(seed=1, head="simple"),
        synthetic=True,
    )
    write_results(tmp_path, found)
    assert read_results(tmp_path) == found
    frame = as_frame(found)
    assert list(frame["images"].dropna()) == [100, 200]
    assert list(frame["failure"]) == ["", "", "training diverged in epoch 1"]
    assert frame["synthetic"].all()
    with pytest.raises(CxrflowError, match="is missing"):
        read_results(tmp_path / "elsewhere")
