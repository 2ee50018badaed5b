"""Runs the scoring inside TFX."""

import os
from pathlib import Path
from typing import Any

from tfx.dsl.components.base import base_executor
from tfx.types import artifact_utils
from tfx.utils import path_utils

from cxrflow.components.node import Artifacts, read_settings, split_files
from cxrflow.components.score.files import write_scores
from cxrflow.components.score.settings import ScorerSettings
from cxrflow.schema.model_json import read_model_json


class Executor(base_executor.BaseExecutor):
    """Writes a model's scores, or an empty folder where there is no model."""

    def Do(
        self, input_dict: Artifacts, output_dict: Artifacts, exec_properties: dict[str, Any]
    ) -> None:
        """Scores `model`; see `component.Scorer`."""
        settings = read_settings(ScorerSettings, exec_properties)
        output = artifact_utils.get_single_instance(output_dict["scores"])
        os.makedirs(output.uri, exist_ok=True)
        output.set_int_custom_property("synthetic", int(settings.synthetic))
        models = input_dict.get("model") or []
        output.set_int_custom_property("models", len(models))
        if not models:
            return
        from cxrflow.components.score.predict import score_model  # TensorFlow, only where needed

        folder = Path(path_utils.serving_model_path(models[0].uri))
        splits = ("train", *settings.splits)
        files = {split: split_files(input_dict["examples"], split) for split in splits}
        found = score_model(
            folder,
            files,
            name=read_model_json(folder).name,
            classes=settings.classes,
            synthetic=settings.synthetic,
            batch_size=settings.batch_size,
            slices=settings.slices,
        )
        write_scores([*found], Path(output.uri))
