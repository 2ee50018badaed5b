"""Searches of the real trainer on a tiny network: fairness, failures, kills."""

import dataclasses
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from cxrflow.components.study.results import write_results
from cxrflow.components.study.settings import OptimizerConfig, StudyConfig
from cxrflow.schema.errors import CxrflowError
from tests.support import tiny_training

pytestmark = [pytest.mark.tf, pytest.mark.slow, pytest.mark.usefixtures("tiny_backbone")]

STUDY = StudyConfig(
    images_seen=128,
    evaluations=2,
    batch_size=16,
    learning_rates=(1e-3,),
    accumulation_steps=(4, 1),
    image_sizes=(128, 64, 32),
    color_sizes=(64,),
    heads=("attention", "simple"),
    seeds=(0, 1),
)


class Killed(BaseException):
    """As a kill would, it passes through every `except Exception`."""


def search(
    tiny: Any, folder: Path, experiment: str, study: StudyConfig = STUDY, **recipe: Any
) -> Any:
    from cxrflow.components.study.tuner import tuner_fn

    tuner = tuner_fn(
        SimpleNamespace(
            train_files=[f"{tiny.folder}/Split-train/*"],
            eval_files=[f"{tiny.folder}/Split-eval/*"],
            base_model=None,
            custom_config={
                "experiment": experiment,
                "study": json.loads(json.dumps(dataclasses.asdict(study))),
                "train": dataclasses.asdict(tiny_training.recipe(**recipe)),
                "transform": {"image_size": 64, "encoding": "jpeg", "jpeg_quality": 95},
                "classes": tiny_training.CLASSES,
                "synthetic": True,
                "work_dir": str(folder),
            },
        )
    ).tuner
    tuner.search()
    return tuner


@pytest.fixture
def started(monkeypatch) -> list[tuple[Any, dict[str, np.ndarray], list[int]]]:
    """Every training's recipe, initial weights by path, and the images of each batch it saw."""
    import keras

    from cxrflow.components.study import tuner
    from cxrflow.components.train import fit

    seen: list[tuple[Any, dict[str, np.ndarray], list[int]]] = []
    real = fit.train

    def train(network, train_images, eval_images, classes, recipe, *folders):
        weights = {w.path: w.numpy() for w in network.full.weights if "seed" not in w.path}
        seen.append((recipe, weights, []))
        return real(network, train_images, eval_images, classes, recipe, *folders)

    class Counted(fit.Progress):
        def on_train_batch_end(self, batch, logs=None):
            super().on_train_batch_end(batch, logs)
            seen[-1][2].append(self.steps.batch)

    monkeypatch.setattr(tuner, "train", train)
    monkeypatch.setattr(fit, "Progress", Counted)
    yield seen
    keras.backend.clear_session()


def same_where_shapes_are(a: dict[str, np.ndarray], b: dict[str, np.ndarray]) -> int:
    """How many weights both have; all of them must be equal."""
    common = [path for path in a if path in b and a[path].shape == b[path].shape]
    for path in common:
        np.testing.assert_array_equal(a[path], b[path], err_msg=path)
    return len(common)


def test_batch_sizes_start_equal_see_equal_images_and_survive_a_kill(
    tiny, tmp_path, started, monkeypatch
):
    from cxrflow.components.train import fit

    unbroken = search(tiny, tmp_path / "unbroken", "learning_rate_batch").results()
    assert [t.values["accumulation_steps"] for t in unbroken.trials] == [4, 1]
    assert [[p.images for p in t.curve] for t in unbroken.trials] == [[64, 128]] * 2
    assert [sum(batches) for _, _, batches in started] == [128] * 2
    (one, first, _), (other, second, _) = started
    assert (one.accumulation_steps, other.accumulation_steps) == (4, 1)
    assert same_where_shapes_are(first, second) == len(first)
    assert unbroken.trials[0].curve[-1].eval_loss != unbroken.trials[1].curve[-1].eval_loss
    assert unbroken.eval_images == 24 and unbroken.synthetic
    write_results(tmp_path, unbroken)  # it is plain JSON

    started.clear()
    real = fit.ResumableStopping.on_epoch_end

    def killed_in_the_second_trial(self, epoch, logs=None):
        if len(started) == 2 and epoch == 1:
            raise Killed
        real(self, epoch, logs)

    with monkeypatch.context() as patch:
        patch.setattr(fit.ResumableStopping, "on_epoch_end", killed_in_the_second_trial)
        with pytest.raises(Killed):
            search(tiny, tmp_path / "killed", "learning_rate_batch")
    resumed = search(tiny, tmp_path / "killed", "learning_rate_batch").results()
    assert [r.accumulation_steps for r, _, _ in started] == [4, 1, 1]  # the first isn't repeated
    assert sum(started[2][2]) == 64  # the second goes on after its first evaluation
    assert [t.seconds is None for t in resumed.trials] == [False, True]
    for a, b in zip(resumed.trials, unbroken.trials, strict=True):
        assert a.values == b.values
        assert [p.images for p in a.curve] == [p.images for p in b.curve]
        np.testing.assert_allclose(
            [p.eval_loss for p in a.curve], [p.eval_loss for p in b.curve], rtol=1e-4
        )
    again = search(tiny, tmp_path / "killed", "learning_rate_batch")
    assert len(started) == 3  # nothing is left to do
    assert again.results() == resumed


def test_sizes_and_colors_share_the_initial_weights_that_fit(tiny, tmp_path, started):
    sizes = search(tiny, tmp_path / "sizes", "image_size").results()
    assert [t.values for t in sizes.trials] == [{"image_size": 64}, {"image_size": 32}]  # not 128
    (_, at_64, _), (_, at_32, _) = started
    assert same_where_shapes_are(at_64, at_32) == len(at_64)
    started.clear()
    colors = search(tiny, tmp_path / "colors", "color").results()
    assert [t.values["color"] for t in colors.trials] == ["rgb", "gray"]
    (_, rgb, _), (_, gray, _) = started
    assert same_where_shapes_are(rgb, gray) == len(rgb) - 1  # the first convolution


def test_heads_share_backbone_and_frozen_features_of_their_seed(
    tiny, tmp_path, started, monkeypatch
):
    from cxrflow.components.train import features

    stored: list[str] = []
    real = features.store.write

    def write(folder, *args):
        if "features" in folder.parts and not folder.is_dir():
            stored.append(folder.name)
        return real(folder, *args)

    monkeypatch.setattr(features.store, "write", write)
    tuner = search(tiny, tmp_path, "head", finetune_from="head", cached_views=2)
    assert stored == ["train", "eval"] * 2  # once for each seed
    assert not [t.failure for t in tuner.results().trials if t.failure]
    backbones = {
        (r.seed, r.head): {path: w for path, w in weights.items() if path.startswith("conv")}
        for r, weights, _ in started
    }
    assert list(backbones) == [(0, "attention"), (0, "simple"), (1, "attention"), (1, "simple")]
    for seed in (0, 1):
        one, other = backbones[seed, "attention"], backbones[seed, "simple"]
        assert same_where_shapes_are(one, other) == len(one) > 0
    kernel = "conv0/kernel"
    assert not np.array_equal(backbones[0, "simple"][kernel], backbones[1, "simple"][kernel])


def test_a_diverging_trial_is_recorded_and_the_rest_goes_on(tiny, tmp_path):
    study = dataclasses.replace(
        STUDY,
        optimizers={
            "wild": OptimizerConfig(optimizer="sgd", learning_rate=1e30),
            "tame": OptimizerConfig(optimizer="adam", learning_rate=1e-3),
        },
    )
    wild, tame = search(tiny, tmp_path, "optimizer", study).results().trials
    assert wild.failure.startswith("training diverged in epoch 1")
    assert not wild.curve
    assert not tame.failure and len(tame.curve) == 2


def test_without_any_success_the_search_says_why_and_can_be_tried_again(tiny, tmp_path):
    wild = {"wild": OptimizerConfig(optimizer="sgd", learning_rate=1e30)}
    study = dataclasses.replace(STUDY, optimizers=wild)
    with pytest.raises(CxrflowError, match=r"none of 1 trials .* because: training diverged"):
        search(tiny, tmp_path, "optimizer", study)
    assert not list(tmp_path.glob("*/trials"))


def test_an_error_in_the_code_is_no_failed_trial(tiny, tmp_path, monkeypatch):
    from keras_tuner.errors import FatalError

    from cxrflow.components.study import tuner

    def broken(*_):
        raise TypeError("a mistake")

    monkeypatch.setattr(tuner, "build_network", broken)
    with pytest.raises(FatalError, match="TypeError: a mistake"):
        search(tiny, tmp_path, "optimizer")
