"""Runs the serving check inside TFX."""

import tempfile
from pathlib import Path
from typing import Any

from tfx.components.util.model_utils import is_model_blessed
from tfx.dsl.components.base import base_executor
from tfx.types import artifact_utils
from tfx.utils import path_utils

from cxrflow.components.node import Artifacts, read_settings
from cxrflow.components.publish.check import check_serving, read_samples
from cxrflow.components.publish.report import CheckReport
from cxrflow.components.publish.settings import ServingCheckConfig

# What TFX's InfraValidator writes and its Pusher looks for.
BLESSED_FILE, NOT_BLESSED_FILE = "INFRA_BLESSED", "INFRA_NOT_BLESSED"
BLESSED_KEY = "blessed"
SPLIT = "eval"


class Executor(base_executor.BaseExecutor):
    """Writes the report and the InfraBlessing."""

    def Do(
        self, input_dict: Artifacts, output_dict: Artifacts, exec_properties: dict[str, Any]
    ) -> None:
        """Checks `model`; see `component.ServingCheck`."""
        config = read_settings(ServingCheckConfig, exec_properties)
        found = self._check(input_dict, config)
        found.write(Path(artifact_utils.get_single_uri(output_dict["report"])))
        blessing = artifact_utils.get_single_instance(output_dict["blessing"])
        blessing.set_int_custom_property(BLESSED_KEY, int(found.blessed))
        name = BLESSED_FILE if found.blessed else NOT_BLESSED_FILE
        (Path(blessing.uri) / name).touch()

    def _check(self, input_dict: Artifacts, config: ServingCheckConfig) -> CheckReport:
        if not is_model_blessed(artifact_utils.get_single_instance(input_dict["model_blessing"])):
            return CheckReport(reasons=["not checked: the gate didn't bless the model"])
        samples = read_samples(
            Path(artifact_utils.get_split_uri(input_dict["examples"], SPLIT)),
            Path(artifact_utils.get_split_uri(input_dict["transformed_examples"], SPLIT)),
            config.images,
        )
        model = artifact_utils.get_single_instance(input_dict["model"])
        saved_model = path_utils.serving_model_path(
            model.uri, path_utils.is_old_model_artifact(model)
        )
        with tempfile.TemporaryDirectory() as work_dir:
            return check_serving(Path(saved_model), samples, config, Path(work_dir))
