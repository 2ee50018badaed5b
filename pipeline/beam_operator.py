"""Runs a node on Beam so that workers elsewhere find its files. Imports TFX.

TFX is launched inside the root, with paths relative to it, so that the root can be moved. A Beam
worker in another process works in another folder: what it gets are absolute paths.
"""

import copy
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import attr
from tfx.orchestration.portable.beam_executor_operator import BeamExecutorOperator
from tfx.types import Artifact

from cxrflow.pipeline import beam_engine
from cxrflow.pipeline.beam_failures import explained
from cxrflow.pipeline.settings import is_remote

Artifacts = Mapping[str, Sequence[Artifact]]


class BeamOperator(BeamExecutorOperator):  # type: ignore[misc]  # Any to mypy, as all of TFX
    """TFX's own, but for runners whose workers are elsewhere."""

    def run_executor(self, execution_info: Any, make_beam_pipeline_fn: Any = None) -> Any:
        """See BeamExecutorOperator; what comes back has relative paths again."""
        args = [arg.value.string_value for arg in self.beam_pipeline_args]
        if not is_remote(args):
            return super().run_executor(execution_info, make_beam_pipeline_fn)
        beam_engine.require_answer(args, "beam")
        paths = ("tmp_dir", "execution_output_uri", "stateful_working_dir")
        elsewhere = attr.evolve(
            execution_info,
            input_dict=_absolute(execution_info.input_dict),
            output_dict=_absolute(execution_info.output_dict),
            **{name: _with_end(getattr(execution_info, name)) for name in paths},
        )
        try:
            output = super().run_executor(elsewhere, make_beam_pipeline_fn)
        except Exception as error:
            raise explained(error) from error
        for artifacts in output.output_artifacts.values():
            for artifact in artifacts.artifacts:
                artifact.uri = _relative(artifact.uri)
        return output


def _absolute(artifacts: Artifacts) -> dict[str, list[Artifact]]:
    found: dict[str, list[Artifact]] = {}
    for name, several in artifacts.items():
        found[name] = []
        for one in several:
            found[name].append(copy.deepcopy(one))
            found[name][-1].uri = os.path.abspath(one.uri)
    return found


def _with_end(path: str) -> str:
    """Absolute, with the slash at the end that it may have."""
    return os.path.abspath(path) + ("/" if path.endswith("/") else "")


def _relative(path: str) -> str:
    here = Path.cwd()
    return os.path.relpath(path, here) if Path(path).is_relative_to(here) else path
