"""A node on Beam whose work is done by `far.Write`."""

from typing import Any

import apache_beam as beam
from tfx.dsl.components.base.base_beam_executor import BaseBeamExecutor

from cxrflow.components.node import Artifacts, Node, Output, read_settings
from tests.support.far import Write
from tests.support.tiny_pipeline import Text, TinySettings


class Executor(BaseBeamExecutor):
    """Four files; a node with the name Deadly kills a worker instead."""

    def Do(
        self, input_dict: Artifacts, output_dict: Artifacts, exec_properties: dict[str, Any]
    ) -> None:
        (output,) = output_dict["text"]
        deadly = 2 if read_settings(TinySettings, exec_properties).name == "Deadly" else -1
        write = Write(output.uri, deadly)
        with self._make_beam_pipeline() as pipeline:
            pipeline | beam.Create(range(4)) | beam.Reshuffle() | beam.ParDo(write)


class Far(Node):
    """Writes them into its output."""

    EXECUTOR = Executor
    SETTINGS = TinySettings

    text: Output[Text]
