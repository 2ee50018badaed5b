"""Runs the gate inside TFX."""

import json
import math
from pathlib import Path
from typing import Any

from tfx import types
from tfx.components.evaluator import constants
from tfx.dsl.components.base import base_executor
from tfx.types import artifact_utils
from tfx.utils import path_utils

from cxrflow.components.evaluate.comparable import why_not
from cxrflow.components.evaluate.evidence.judge import SPLIT, Evidence, judge
from cxrflow.components.evaluate.results import CANDIDATE, load_evaluation
from cxrflow.components.evaluate.settings import GateSettings
from cxrflow.components.evaluate.verdict import Verdict, write_verdict
from cxrflow.components.node import read_settings
from cxrflow.components.score.files import OUT_OF_FOLD, has_scores, read_scores, scored_models
from cxrflow.schema.errors import CxrflowError
from cxrflow.schema.model_json import read_model_json

# On which the floor is compared, and train out of fold with it where all were cross-fitted on all
# of it: test is for the final figures alone.
BASELINE_SPLIT = "eval"


class Executor(base_executor.BaseExecutor):
    """Writes the verdict and the blessing that Resolver and Pusher look for."""

    def Do(
        self,
        input_dict: dict[str, list[types.Artifact]],
        output_dict: dict[str, list[types.Artifact]],
        exec_properties: dict[str, Any],
    ) -> None:
        """Judges `model`; see `component.Gate`."""
        model = artifact_utils.get_single_instance(input_dict["model"])
        baselines = input_dict.get("baseline_model") or []
        settings = read_settings(GateSettings, exec_properties)
        verdict = judge(
            _evidence(input_dict, settings, baselines[0].uri if baselines else ""),
            settings.limits,
            name=settings.name,
            slices=settings.slices,
            split_kind=settings.split_kind,
            synthetic=settings.synthetic,
        )
        output = artifact_utils.get_single_instance(output_dict["verdict"])
        write_verdict(verdict, Path(output.uri))
        output.set_int_custom_property("synthetic", int(verdict.synthetic))
        blessing = artifact_utils.get_single_instance(output_dict["blessing"])
        _bless(blessing, verdict, model, baselines)


def _evidence(
    input_dict: dict[str, list[types.Artifact]], settings: GateSettings, last_uri: str
) -> Evidence:
    evaluation = artifact_utils.get_single_uri(input_dict["evaluation"])
    scores = Path(artifact_utils.get_single_uri(input_dict["scores"]))
    floor, last = (
        Path(artifact_utils.get_single_uri(input_dict[name]))
        for name in ("baselines", "last_scores")
    )
    before = scored_models(last) if last_uri else []
    pairs = [(scores, settings.name), *((floor, name) for name in scored_models(floor))]
    cross_fitted = all(has_scores(*pair, OUT_OF_FOLD) for pair in pairs)
    split = OUT_OF_FOLD if cross_fitted else BASELINE_SPLIT
    return Evidence(
        results=load_evaluation(Path(evaluation), settings.classes)[CANDIDATE],
        test=read_scores(scores, settings.name, SPLIT),
        eval=read_scores(scores, settings.name, split),
        floor={name: read_scores(floor, name, split) for name in scored_models(floor)},
        floor_test={name: read_scores(floor, name, SPLIT) for name in scored_models(floor)},
        members={
            name: (read_scores(scores, name, split), read_scores(scores, name, SPLIT))
            for name in scored_models(scores)
            if name != settings.name
        },
        last=read_scores(last, before[0], SPLIT) if before else None,
        last_uri=last_uri,
        passed_over=_passed_over(input_dict),
    )


def _passed_over(input_dict: dict[str, list[types.Artifact]]) -> str:
    """Why the latest blessed model isn't compared with, in words; empty where it is."""
    models = input_dict.get("passed_over") or []
    if not models:
        return ""
    model = artifact_utils.get_single_instance(input_dict["model"])
    try:
        infos = [
            read_model_json(Path(path_utils.serving_model_path(one.uri)))
            for one in (model, models[0])
        ]
    except CxrflowError as error:
        return str(error)
    return why_not(*infos)


def _bless(
    blessing: types.Artifact,
    verdict: Verdict,
    model: types.Artifact,
    baselines: list[types.Artifact],
) -> None:
    """Writes the same properties and file as TFX's own Evaluator, and the verdict beside it."""
    blessing.set_string_custom_property(
        constants.ARTIFACT_PROPERTY_CURRENT_MODEL_URI_KEY, model.uri
    )
    blessing.set_int_custom_property(constants.ARTIFACT_PROPERTY_CURRENT_MODEL_ID_KEY, model.id)
    if baselines:
        blessing.set_string_custom_property(
            constants.ARTIFACT_PROPERTY_BASELINE_MODEL_URI_KEY, baselines[0].uri
        )
        blessing.set_int_custom_property(
            constants.ARTIFACT_PROPERTY_BASELINE_MODEL_ID_KEY, baselines[0].id
        )
    blessing.set_int_custom_property(
        constants.ARTIFACT_PROPERTY_BLESSED_KEY,
        constants.BLESSED_VALUE if verdict.blessed else constants.NOT_BLESSED_VALUE,
    )
    name = constants.BLESSED_FILE_NAME if verdict.blessed else constants.NOT_BLESSED_FILE_NAME
    (Path(blessing.uri) / name).touch()
    write_verdict(verdict, Path(blessing.uri))
    blessing.set_string_custom_property("summary", verdict.summary)
    blessing.set_int_custom_property("synthetic", int(verdict.synthetic))
    if math.isfinite(verdict.mean_auc):
        blessing.set_float_custom_property("mean_auc", verdict.mean_auc)
    aucs = {item.result.name: item.result.auc for item in verdict.classes}
    known = {name: auc for name, auc in aucs.items() if math.isfinite(auc)}
    blessing.set_string_custom_property("class_auc", json.dumps(known))
