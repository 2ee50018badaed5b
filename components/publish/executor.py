"""Runs the push inside TFX."""

import json
import math
from pathlib import Path
from typing import Any

from tfx import types
from tfx.components.pusher import executor
from tfx.proto import pusher_pb2
from tfx.types import artifact_utils, standard_component_specs
from tfx.utils import io_utils, proto_utils

from cxrflow.components.publish.push import push
from cxrflow.components.publish.settings import PublishConfig
from cxrflow.schema.errors import CxrflowError


class Executor(executor.Executor):
    """TFX's Pusher with a copy that survives a crash; inputs, outputs, properties are the same."""

    def Do(
        self,
        input_dict: dict[str, list[types.Artifact]],
        output_dict: dict[str, list[types.Artifact]],
        exec_properties: dict[str, Any],
    ) -> None:
        """Pushes `model` to the push destination's folder if it is blessed."""
        pushed = artifact_utils.get_single_instance(
            output_dict[standard_component_specs.PUSHED_MODEL_KEY]
        )
        if not self.CheckBlessing(input_dict):
            self._MarkNotPushed(pushed)
            return
        destination = pusher_pb2.PushDestination()
        proto_utils.json_to_proto(
            exec_properties[standard_component_specs.PUSH_DESTINATION_KEY], destination
        )
        base_dir = destination.filesystem.base_directory
        if not base_dir or "://" in base_dir:
            raise CxrflowError(f"Models are pushed to a local folder, not to {base_dir or '?'}.")
        model_dir = self.GetModelPath(input_dict)
        version_dir = push(
            Path(model_dir),
            Path(base_dir),
            PublishConfig(**_custom(exec_properties).get("publish", {})),
            _notes(input_dict),
        )
        io_utils.copy_dir(model_dir, pushed.uri)  # the archive copy that TFX's Pusher keeps
        self._MarkPushed(
            pushed, pushed_destination=str(version_dir), pushed_version=version_dir.name
        )


def _custom(exec_properties: dict[str, Any]) -> dict[str, Any]:
    return (
        json.loads(exec_properties.get(standard_component_specs.CUSTOM_CONFIG_KEY) or "null") or {}
    )


def _notes(input_dict: dict[str, list[types.Artifact]]) -> dict[str, Any]:
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
