"""Runs a member's gate inside TFX."""

from pathlib import Path
from typing import Any

from tfx import types
from tfx.dsl.components.base import base_executor
from tfx.types import artifact_utils

from cxrflow.components.evaluate.gate import judge
from cxrflow.components.evaluate.results import CANDIDATE, load_evaluation
from cxrflow.components.evaluate.settings import MemberGateSettings
from cxrflow.components.evaluate.verdict import write_verdict
from cxrflow.components.node import read_settings


class Executor(base_executor.BaseExecutor):
    """Writes the verdict."""

    def Do(
        self,
        input_dict: dict[str, list[types.Artifact]],
        output_dict: dict[str, list[types.Artifact]],
        exec_properties: dict[str, Any],
    ) -> None:
        """Judges a member by `evaluation`; see `component.MemberGate`."""
        evaluation = artifact_utils.get_single_uri(input_dict["evaluation"])
        settings = read_settings(MemberGateSettings, exec_properties)
        verdict = judge(
            load_evaluation(Path(evaluation), settings.classes)[CANDIDATE],
            settings.limits,
            name=settings.name,
            synthetic=settings.synthetic,
        )
        output = artifact_utils.get_single_instance(output_dict["verdict"])
        write_verdict(verdict, Path(output.uri))
        output.set_int_custom_property("synthetic", int(verdict.synthetic))
