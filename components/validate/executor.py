"""ValidationGate's executor."""

import dataclasses
import json
from pathlib import Path
from typing import Any

import tensorflow_data_validation as tfdv
from tensorflow_metadata.proto.v0 import anomalies_pb2
from tfx import types
from tfx.components.example_validator import executor as example_validator
from tfx.components.statistics_gen import executor as statistics_gen
from tfx.dsl.components.base import base_executor
from tfx.types import artifact_utils
from tfx.utils import io_utils

from cxrflow.components.model.folds import cross_fit_folds, require_patients
from cxrflow.components.node import Artifacts, read_settings
from cxrflow.components.validate.gate import anomalies_in_words, distance_in_words, distances
from cxrflow.components.validate.patients import patients_by_class
from cxrflow.components.validate.settings import ValidationGateSettings
from cxrflow.schema.errors import CxrflowError


class Executor(base_executor.BaseExecutor):
    """Stops the run on anomalies, on splits that differ too much and on folds that are too many."""

    def Do(
        self, input_dict: Artifacts, output_dict: Artifacts, exec_properties: dict[str, Any]
    ) -> None:
        """Writes `report.json` with the measured distances.

        Raises:
            CxrflowError: with a line for each problem found.
        """
        statistics, schema, anomalies = (
            artifact_utils.get_single_instance(input_dict[key])
            for key in ("statistics", "schema", "anomalies")
        )
        stats = {
            split: tfdv.load_stats_binary(
                str(_split_file(statistics, split, statistics_gen.DEFAULT_FILE_NAME))
            )
            for split in artifact_utils.decode_split_names(statistics.split_names)
        }
        problems = []
        for split in stats:
            path = _split_file(anomalies, split, example_validator.DEFAULT_FILE_NAME)
            found = anomalies_pb2.Anomalies.FromString(path.read_bytes())
            problems += anomalies_in_words(split, found)
        if problems:
            advice = (
                "Correct the data; if it is right and the contract is not, change "
                "schema/schema.pbtxt"
            )
            raise CxrflowError(_stopped(problems, advice))

        settings = read_settings(ValidationGateSettings, exec_properties)
        limits = {
            "eval": settings.limits.max_eval_distance,
            "test": settings.limits.max_test_distance,
        }
        measured = distances(
            stats, tfdv.load_schema_text(io_utils.get_only_uri_in_dir(schema.uri)), limits
        )
        problems = [
            distance_in_words(distance, f"validate.max_{distance.split}_distance")
            for distance in measured
            if distance.too_far
        ]
        if problems:
            advice = "Look at how the splits were made, or raise the limit with --set"
            raise CxrflowError(_stopped(problems, advice))

        images = {split: int(part.datasets[0].num_examples) for split, part in stats.items()}
        learned = images["train"] + images["eval"]
        if folds := max(cross_fit_folds(wanted, learned) for wanted in settings.cross_fit):
            records = [
                Path(artifact_utils.get_split_uri(input_dict["records"], split))
                for split in ("train", "eval")
            ]
            require_patients(patients_by_class(records, settings.classes), folds)

        report = Path(artifact_utils.get_single_uri(output_dict["report"])) / "report.json"
        report.parent.mkdir(parents=True, exist_ok=True)
        content = {
            "synthetic": settings.synthetic,
            "images": images,
            "distances": [dataclasses.asdict(distance) for distance in measured],
        }
        report.write_text(json.dumps(content, indent=2) + "\n")


def _split_file(artifact: types.Artifact, split: str, name: str) -> Path:
    return Path(artifact_utils.get_split_uri([artifact], split)) / name


def _stopped(problems: list[str], advice: str) -> str:
    return "\n  ".join(["the data did not pass validation:", *problems]) + f"\n{advice}."
