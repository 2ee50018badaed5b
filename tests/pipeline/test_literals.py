"""What a type checker reads of the settings' choices equals the tables that they choose from."""

from typing import get_args, get_type_hints

import pytest

from cxrflow.components.model.backbones import BACKBONES, BackboneName
from cxrflow.components.model.recipe import TrainConfig
from cxrflow.components.publish.settings import PublishConfig
from cxrflow.schema.classes import CLASSES_14, ClassName
from cxrflow.schema.store.versions import CANARY, STABLE


def choices(settings: type, field: str) -> tuple[str, ...]:
    """The values of a Literal."""
    return get_args(get_type_hints(settings)[field])


def test_backbones() -> None:
    assert get_args(BackboneName) == tuple(BACKBONES) == choices(TrainConfig, "backbone")


def test_classes_and_labels() -> None:
    assert get_args(ClassName) == CLASSES_14
    assert choices(PublishConfig, "label") == (STABLE, CANARY)


@pytest.mark.tf
def test_heads_and_optimizers() -> None:
    from cxrflow.components.model.heads import HEADS
    from cxrflow.components.train.optimizers import _KINDS

    assert choices(TrainConfig, "head") == tuple(HEADS)
    assert set(choices(TrainConfig, "optimizer")) == set(_KINDS)
