"""Runs the edge evaluation inside TFX."""

import glob
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

from tfx.dsl.components.base import base_executor
from tfx.types import artifact_utils
from tfx.utils import path_utils

from cxrflow.components.edge.parity.evaluate import evaluate, write_bundle
from cxrflow.components.edge.parity.lessons import lessons
from cxrflow.components.edge.parity.report import ParityReport, write_report
from cxrflow.components.edge.parity.settings import EdgeEvaluatorSettings
from cxrflow.components.node import Artifacts, read_settings
from cxrflow.schema.model_json import read_model_json

SPLIT = "eval"
NOT_EXPORTED = "the model isn't blessed, so that nothing was exported"


class Executor(base_executor.BaseExecutor):
    """Writes the report, and the bundle where a variant is blessed."""

    def Do(
        self, input_dict: Artifacts, output_dict: Artifacts, exec_properties: dict[str, Any]
    ) -> None:
        """Evaluates `candidate`; see `component.EdgeEvaluator`."""
        settings = read_settings(EdgeEvaluatorSettings, exec_properties)
        candidate = artifact_utils.get_single_instance(input_dict["candidate"])
        model = artifact_utils.get_single_instance(input_dict["model"])
        saved_model = Path(path_utils.serving_model_path(model.uri))
        if candidate.get_int_custom_property("exported"):
            split = artifact_utils.get_split_uri(input_dict["transformed_examples"], SPLIT)
            found = evaluate(
                Path(candidate.uri),
                saved_model,
                glob.glob(os.path.join(split, "*")),
                settings.edge,
            )
            if settings.untaught:
                student, members = (
                    Path(artifact_utils.get_single_uri(input_dict[key]))
                    for key in ("scores", "member_scores")
                )
                pairs = lessons(
                    student, members, found.model, settings.untaught, settings.edge.draws
                )
                found = replace(found, lessons=tuple(pairs))
        else:
            info = read_model_json(saved_model)
            found = ParityReport(info.name, info.synthetic, reason=NOT_EXPORTED)

        report = artifact_utils.get_single_instance(output_dict["report"])
        bundle = artifact_utils.get_single_instance(output_dict["bundle"])
        for output in (report, bundle):
            os.makedirs(output.uri, exist_ok=True)
            output.set_int_custom_property("synthetic", int(found.synthetic))
        write_report(found, Path(report.uri))
        if found.blessed:
            write_bundle(Path(candidate.uri), found, Path(bundle.uri))
        bundle.set_int_custom_property("blessed", int(bool(found.blessed)))
