"""Runs the push of an edge bundle inside TFX."""

import logging
from pathlib import Path
from typing import Any

from tfx.dsl.components.base import base_executor
from tfx.types import artifact_utils

from cxrflow.components.edge.parity.report import read_report
from cxrflow.components.edge.push.settings import EdgePusherSettings
from cxrflow.components.node import Artifacts, read_settings
from cxrflow.components.publish.push import push_bundle


class Executor(base_executor.BaseExecutor):
    """Pushes a bundle that has a blessed variant; leaves everything as it is otherwise."""

    def Do(
        self, input_dict: Artifacts, output_dict: Artifacts, exec_properties: dict[str, Any]
    ) -> None:
        """Pushes `bundle`; see `component.EdgePusher`."""
        bundle = artifact_utils.get_single_instance(input_dict["bundle"])
        push = artifact_utils.get_single_instance(output_dict["push"])
        blessed = bundle.get_int_custom_property("blessed")
        push.set_int_custom_property("pushed", blessed)
        if not blessed:
            logging.warning("no edge bundle is pushed: none of its variants is blessed")
            return
        settings = read_settings(EdgePusherSettings, exec_properties)
        folder = Path(bundle.uri)
        found = read_report(folder)
        version_dir = push_bundle(
            folder,
            Path(settings.destination),
            settings.keep_versions,
            notes={"synthetic": found.synthetic, "variants": found.blessed},
        )
        push.set_string_custom_property("edge_destination", str(version_dir))
