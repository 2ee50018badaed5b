"""Runs the edge export inside TFX."""

import logging
from pathlib import Path
from typing import Any

from tfx.dsl.components.base import base_executor
from tfx.types import artifact_utils
from tfx.utils import path_utils

from cxrflow.components.edge.export.bundle import export_bundle
from cxrflow.components.edge.export.settings import EdgeExportSettings
from cxrflow.components.evaluate.verdict import FILE_NAME, read_verdict
from cxrflow.components.node import Artifacts, read_settings

EXPORTED = "exported"


class Executor(base_executor.BaseExecutor):
    """Writes the bundle, or nothing where a gate said no."""

    def Do(
        self, input_dict: Artifacts, output_dict: Artifacts, exec_properties: dict[str, Any]
    ) -> None:
        """Exports `model`; see `component.EdgeExport`."""
        candidate = artifact_utils.get_single_instance(output_dict["candidate"])
        settings = read_settings(EdgeExportSettings, exec_properties)
        candidate.set_int_custom_property("synthetic", int(settings.synthetic))
        folder = Path(candidate.uri)
        verdicts = [read_verdict(Path(v.uri) / FILE_NAME) for v in input_dict["verdicts"]]
        refused = [verdict.name for verdict in verdicts if not verdict.blessed]
        candidate.set_int_custom_property(EXPORTED, int(not refused))
        if refused:
            logging.info("nothing is exported: the gate didn't bless %s", " and ".join(refused))
            folder.mkdir(parents=True, exist_ok=True)
            return
        model = artifact_utils.get_single_instance(input_dict["model"])
        export_bundle(
            Path(path_utils.serving_model_path(model.uri)),
            Path(artifact_utils.get_split_uri(input_dict["transformed_examples"], "train")),
            Path(artifact_utils.get_split_uri(input_dict["examples"], "eval")),
            settings.edge,
            folder,
        )
