"""Runs the scoring of attention maps inside TFX."""

import os
from pathlib import Path
from typing import Any

from tfx.dsl.components.base import base_executor
from tfx.types import artifact_utils
from tfx.utils import path_utils

from cxrflow.components.localise.report import write_localisation
from cxrflow.components.localise.run import localise
from cxrflow.components.localise.settings import LocaliserSettings
from cxrflow.components.node import Artifacts, read_settings

SPLIT = "test"


class Executor(base_executor.BaseExecutor):
    """Writes the report."""

    def Do(
        self, input_dict: Artifacts, output_dict: Artifacts, exec_properties: dict[str, Any]
    ) -> None:
        """Scores `model`; see `component.Localiser`."""
        settings = read_settings(LocaliserSettings, exec_properties)
        model = artifact_utils.get_single_uri(input_dict["model"])
        found = localise(
            Path(path_utils.serving_model_path(model)),
            Path(settings.boxes),
            Path(artifact_utils.get_split_uri(input_dict["examples"], SPLIT)),
            settings.localise,
            SPLIT,
        )
        report = artifact_utils.get_single_instance(output_dict["report"])
        os.makedirs(report.uri, exist_ok=True)
        write_localisation(found, Path(report.uri))
        report.set_int_custom_property("synthetic", int(settings.synthetic))
