"""Custom nodes: what TFX is told of them, how settings travel, names that Kubeflow accepts."""

import dataclasses
import importlib
import json
import re

import pytest

from cxrflow.schema.errors import CxrflowError
from cxrflow.schema.settings import Positive, settings

pytestmark = pytest.mark.tf


@settings
class Inner:
    names: tuple[str, ...] = ()


@settings
class Tried:
    count: Positive
    inner: Inner
    share: float = 0.5


GIVEN = Tried(count=3, inner=Inner(names=("b", "a")))


def test_what_tfx_is_told_of_a_node() -> None:
    from tfx.dsl.components.base import executor_spec
    from tfx.types import Channel, standard_artifacts

    node_class = made_up()
    spec = node_class.SPEC_CLASS
    assert {name: (one.type.TYPE_NAME, one.optional) for name, one in spec.INPUTS.items()} == {
        "model": ("Model", False),
        "examples": ("Examples", True),
    }
    assert {name: (one.type.TYPE_NAME, one.optional) for name, one in spec.OUTPUTS.items()} == {
        "blessing": ("ModelBlessing", True),
        "evaluation": ("ModelEvaluation", False),
    }
    assert type(node_class.EXECUTOR_SPEC) is executor_spec.ExecutorClassSpec
    model = Channel(type=standard_artifacts.Model)
    node = node_class(GIVEN, "code-1", model=model, examples=None)
    assert node.id == "MadeUp"
    assert node.inputs == {"model": model}
    assert node.outputs.keys() == {"blessing", "evaluation"}
    assert node.exec_properties["code_version"] == "code-1"
    assert node_class(GIVEN, "", ("blessing",), model=model).outputs.keys() == {"evaluation"}


def test_a_node_on_beam_gets_beam_s_arguments() -> None:
    from tfx.dsl.components.base import executor_spec

    from cxrflow.components.ingest.component import ImageExampleGen

    assert type(ImageExampleGen.EXECUTOR_SPEC) is executor_spec.BeamExecutorSpec


def test_wrong_calls_are_refused() -> None:
    from tfx.types import Channel, standard_artifacts

    model = Channel(type=standard_artifacts.Model)
    for call in (
        lambda: made_up()(Inner(), "", model=model),
        lambda: made_up()(GIVEN, ""),
        lambda: made_up()(GIVEN, "", model=model, modle=model),
        lambda: made_up()(GIVEN, "", model=Channel(type=standard_artifacts.Examples)),
    ):
        with pytest.raises((TypeError, ValueError)):
            call()


def test_settings_arrive_as_they_were_sent() -> None:
    from cxrflow.components.node import read_settings, to_json

    text = to_json(GIVEN)
    assert json.loads(text) == {"count": 3, "inner": {"names": ["b", "a"]}, "share": 0.5}
    assert to_json(dataclasses.replace(GIVEN)) == text
    assert read_settings(Tried, {"settings": text, "code_version": "1"}) == GIVEN


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('{"count": 0, "inner": {}}', "Tried: count: "),
        ('{"count": 1, "inner": {"other": 1}}', "Tried: inner.other: "),
        ('{"inner": {}}', "Tried: count: "),
        ("{", "Tried: settings: "),
    ],
)
def test_settings_are_checked_when_read(text: str, said: str) -> None:
    from cxrflow.components.node import read_settings

    with pytest.raises(CxrflowError, match=f"^{said}"):
        read_settings(Tried, {"settings": text})


def test_kubeflow_accepts_the_names_of_artifacts() -> None:
    """The pattern is tfx.orchestration.kubeflow.v2.compiler_utils._SCHEMA_TITLE_RE of TFX 1.21."""
    from tfx.types import Artifact

    from cxrflow.components import artifacts

    kinds = [
        kind
        for kind in vars(artifacts).values()
        if isinstance(kind, type) and issubclass(kind, Artifact) and kind is not Artifact
    ]
    own = [kind for kind in kinds if kind.__module__ == artifacts.__name__]
    assert len(own) == 13
    for kind in own:
        assert re.fullmatch(r"[a-z][a-z0-9-_]{2,20}[.][A-Z][a-zA-Z0-9-_]{2,49}", kind.TYPE_NAME)
        module, _, name = kind.TYPE_NAME.rpartition(".")
        assert getattr(importlib.import_module(module), name) is kind


def made_up() -> type:
    from tfx.dsl.components.base.base_executor import EmptyExecutor
    from tfx.types.standard_artifacts import Examples, Model, ModelBlessing, ModelEvaluation

    from cxrflow.components.node import Input, Node, Output

    class MadeUp(Node):
        EXECUTOR = EmptyExecutor
        SETTINGS = Tried

        model: Input[Model]
        examples: Input[Examples] | None
        blessing: Output[ModelBlessing] | None
        evaluation: Output[ModelEvaluation]

    return MadeUp
