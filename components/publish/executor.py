"""Runs the push inside TFX."""

import json
import math
from pathlib import Path
from typing import Any

from tfx.components.pusher import executor
from tfx.types import artifact_utils, standard_component_specs
from tfx.utils import io_utils

from cxrflow.components.node import Artifacts, read_settings
from cxrflow.components.publish.push import push
from cxrflow.components.publish.settings import PusherSettings
from cxrflow.schema.errors import CxrflowError


class Executor(executor.Executor):
    """TFX's Pusher with a copy that survives a crash, and with the model card beside it."""

    def Do(
        self, input_dict: Artifacts, output_dict: Artifacts, exec_properties: dict[str, Any]
    ) -> None:
        """Pushes `model` to the destination if it is blessed; see `component.Pusher`."""
        pushed = artifact_utils.get_single_instance(
            output_dict[standard_component_specs.PUSHED_MODEL_KEY]
        )
        if not self.CheckBlessing(input_dict):
            self._MarkNotPushed(pushed)
            return
        settings = read_settings(PusherSettings, exec_properties)
        base_dir = settings.destination
        if not base_dir or "://" in base_dir:
            raise CxrflowError(f"Models are pushed to a local folder, not to {base_dir or '?'}.")
        model_dir = self.GetModelPath(input_dict)
        version_dir = push(
            Path(model_dir),
            Path(base_dir),
            settings.publish,
            _notes(input_dict),
            _card(input_dict),
        )
        io_utils.copy_dir(model_dir, pushed.uri)  # the archive copy that TFX's Pusher keeps
        self._MarkPushed(
            pushed, pushed_destination=str(version_dir), pushed_version=version_dir.name
        )


def _card(input_dict: Artifacts) -> Path | None:
    cards = input_dict.get("card")
    return Path(artifact_utils.get_single_uri(cards)) if cards else None


def _notes(input_dict: Artifacts) -> dict[str, Any]:
    """What Gate says of the model on its blessing; goes into the manifest."""
    blessings = input_dict.get(standard_component_specs.MODEL_BLESSING_KEY) or []
    if not blessings or not blessings[0].has_custom_property("mean_auc"):
        return {}
    mean_auc = blessings[0].get_float_custom_property("mean_auc")
    synthetic = bool(blessings[0].get_int_custom_property("synthetic"))
    notes = {"mean_auc": mean_auc if math.isfinite(mean_auc) else None, "synthetic": synthetic}
    if blessings[0].has_custom_property("class_auc"):
        notes["class_auc"] = json.loads(blessings[0].get_string_custom_property("class_auc"))
    return notes
