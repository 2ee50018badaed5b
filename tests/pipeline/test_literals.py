"""What a type checker reads of the settings' choices equals the tables that they choose from."""

from typing import get_args, get_type_hints

import pytest

from cxrflow.components.edge.parity.decisions import POINTS
from cxrflow.components.ensemble.settings import METHODS, EnsembleConfig
from cxrflow.components.model.backbones import BACKBONES, BackboneName
from cxrflow.components.model.recipe import TrainConfig
from cxrflow.components.publish.settings import PublishConfig
from cxrflow.components.study.settings import EXPERIMENTS, Experiment
from cxrflow.schema.classes import CLASSES_14, ClassName
from cxrflow.schema.store.versions import CANARY, STABLE
from cxrflow.serving.client.settings import ClientConfig
from cxrflow.serving.settings import ShadowConfig


def choices(settings: type, field: str) -> tuple[str, ...]:
    """The values of a Literal."""
    return get_args(get_type_hints(settings)[field])


def test_backbones() -> None:
    assert get_args(BackboneName) == tuple(BACKBONES) == choices(TrainConfig, "backbone")


def test_classes_and_labels() -> None:
    assert get_args(ClassName) == CLASSES_14
    assert choices(PublishConfig, "label") == (STABLE, CANARY)


def test_ways_of_combining() -> None:
    combining = [name for name in METHODS if name != "hard_vote_majority"]  # hard_vote once more
    assert choices(EnsembleConfig, "method") == ("best", *combining)


def test_experiments_and_operating_points() -> None:
    assert get_args(Experiment) == EXPERIMENTS
    assert choices(ClientConfig, "point") == choices(ShadowConfig, "point") == POINTS


@pytest.mark.tf
def test_heads_and_optimizers() -> None:
    from cxrflow.components.model.heads import HEADS
    from cxrflow.components.train.optimizers import _KINDS

    assert choices(TrainConfig, "head") == tuple(HEADS)
    assert set(choices(TrainConfig, "optimizer")) == set(_KINDS)
