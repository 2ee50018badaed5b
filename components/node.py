"""What TFX wants to know of a node, from a class that lists what goes in and what comes out.

    class Gate(Node):
        EXECUTOR = Executor
        SETTINGS = GateSettings

        model: Input[Model]
        baseline_model: Input[Model] | None  # may be left out
        verdict: Output[Verdict]

Settings are one frozen dataclass; they travel as one JSON text and are checked when read.
"""

import dataclasses
import glob
import json
import os
from collections.abc import Collection, Mapping
from typing import Any, ClassVar, Generic, TypeVar, get_args, get_origin

from pydantic import TypeAdapter, ValidationError
from tfx import types
from tfx.dsl.components.base import base_beam_executor, base_component, base_executor, executor_spec
from tfx.types import artifact_utils
from tfx.types.component_spec import ChannelParameter, ComponentSpec, ExecutionParameter

from cxrflow.schema.errors import CxrflowError

Artifacts = dict[str, list[types.Artifact]]  # by name, as TFX gives them to an executor
ArtifactType = TypeVar("ArtifactType", bound=types.Artifact)
Settings = TypeVar("Settings")


class Input(Generic[ArtifactType]):
    """Marks what a node reads."""


class Output(Generic[ArtifactType]):
    """Marks what a node writes."""


class Node(base_component.BaseComponent):
    """A node whose inputs and outputs are its annotations."""

    EXECUTOR: ClassVar[type[base_executor.BaseExecutor]]
    SETTINGS: ClassVar[type]

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        channels = {name: _channel(hint) for name, hint in cls.__annotations__.items()}
        parameters = {
            "settings": ExecutionParameter(type=str),
            "code_version": ExecutionParameter(type=str),
        }
        spec = {
            "PARAMETERS": parameters,
            "INPUTS": {name: one for name, (kind, one) in channels.items() if kind is Input},
            "OUTPUTS": {name: one for name, (kind, one) in channels.items() if kind is Output},
        }
        cls.SPEC_CLASS = type(f"{cls.__name__}Spec", (ComponentSpec,), spec)
        on_beam = issubclass(cls.EXECUTOR, base_beam_executor.BaseBeamExecutor)
        spec_class = executor_spec.BeamExecutorSpec if on_beam else executor_spec.ExecutorClassSpec
        cls.EXECUTOR_SPEC = spec_class(cls.EXECUTOR)

    def __init__(
        self,
        settings: Any,
        code_version: str,
        without: Collection[str] = (),
        **inputs: types.BaseChannel | None,
    ) -> None:
        """Makes the node.

        Args:
            settings: of the class `SETTINGS`.
            code_version: hash of the code that the node runs; a changed one runs it again.
            without: names of optional outputs that this node doesn't have.
            inputs: channels by name; one that is optional may be None.

        Raises:
            TypeError: the settings are another node's, or there is no such input.
            ValueError: an input is missing.
        """
        if not isinstance(settings, self.SETTINGS):
            raise TypeError(f"{type(self).__name__} takes {self.SETTINGS.__name__}")
        if unknown := sorted(inputs.keys() - self.SPEC_CLASS.INPUTS.keys()):
            raise TypeError(f"{type(self).__name__} has no input {unknown[0]}")
        outputs = {
            name: types.Channel(type=output.type)
            for name, output in self.SPEC_CLASS.OUTPUTS.items()
            if name not in without
        }
        properties = {"settings": to_json(settings), "code_version": code_version}
        super().__init__(self.SPEC_CLASS(**properties, **inputs, **outputs))


def to_json(settings: Any) -> str:
    """Settings as text; the same ones always give the same text."""
    return json.dumps(dataclasses.asdict(settings), sort_keys=True)


def split_files(examples: list[types.Artifact], split: str) -> list[str]:
    """Files of one split of an Examples artifact."""
    return glob.glob(os.path.join(artifact_utils.get_split_uri(examples, split), "*"))


def read_settings(kind: type[Settings], exec_properties: Mapping[str, Any]) -> Settings:
    """The settings that TFX hands to an executor. Raises CxrflowError if they aren't of `kind`."""
    try:
        return TypeAdapter(kind).validate_json(exec_properties["settings"])
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise CxrflowError(f"{kind.__name__}: {where or 'settings'}: {first['msg']}") from error


def _channel(hint: Any) -> tuple[type, ChannelParameter]:
    """Input or Output, and what TFX calls it, of Input[X], Output[X] or either with `| None`."""
    kinds = [one for one in get_args(hint) if one is not type(None)]
    optional = get_origin(hint) not in (Input, Output)
    marked = kinds[0] if optional else hint
    (artifact_type,) = get_args(marked)
    return get_origin(marked), ChannelParameter(type=artifact_type, optional=optional)
