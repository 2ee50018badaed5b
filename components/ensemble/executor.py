"""Runs the ensemble inside TFX."""

import json
import math
import os
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
from tfx.dsl.components.base import base_executor
from tfx.types import artifact_utils
from tfx.utils import path_utils

from cxrflow.components.ensemble.compare import Comparison, compare
from cxrflow.components.ensemble.graph import Members, export_ensemble
from cxrflow.components.ensemble.honest import cross_fitted, honest_predictions
from cxrflow.components.ensemble.members import LeftOut, Member, read_members
from cxrflow.components.ensemble.predict import not_asked, predict
from cxrflow.components.ensemble.report import FILE_NAME
from cxrflow.components.ensemble.scores import all_scores
from cxrflow.components.ensemble.settings import ENSEMBLE, METHODS, EnsembleSettings
from cxrflow.components.model.assets import write_assets
from cxrflow.components.model.calibration import calibrate
from cxrflow.components.model.out_of_fold import OutOfFold, write_out_of_fold
from cxrflow.components.model.thresholds import class_thresholds
from cxrflow.components.node import Artifacts, read_settings, split_files
from cxrflow.components.score.files import Table, write_scores
from cxrflow.components.score.predict import read_table
from cxrflow.schema import model_json
from cxrflow.schema.model_json import CompactFormat, ModelJson


class Executor(base_executor.BaseExecutor):
    """Scores all methods, exports one of them and reports on all."""

    def Do(
        self, input_dict: Artifacts, output_dict: Artifacts, exec_properties: dict[str, Any]
    ) -> None:
        """Combines the models that passed their gates; see `component.Ensemble`."""
        settings = read_settings(EnsembleSettings, exec_properties)
        classes, synthetic = list(settings.classes), settings.synthetic
        compact = CompactFormat(**asdict(settings.compact))

        chosen_members, left_out = read_members(
            [Path(path_utils.serving_model_path(m.uri)) for m in input_dict["models"]],
            [Path(verdict.uri) for verdict in input_dict["verdicts"]],
            classes,
        )
        members = Members(chosen_members)
        batch_size = settings.ensemble.batch_size
        files = {split: split_files(input_dict["examples"], split) for split in ("eval", "test")}
        # Cross-fitted members have spoken of eval, out of fold.
        unasked = ["eval"] if cross_fitted(chosen_members) else []
        predictions = {
            split: not_asked(chosen_members, paths, len(classes), settings.slices)
            if split in unasked
            else predict(members, paths, compact, batch_size, settings.slices)
            for split, paths in files.items()
        }
        known, note = honest_predictions(chosen_members, predictions["eval"])
        found = compare(
            [m.name for m in chosen_members], {**predictions, "eval": known}, settings.ensemble
        )
        found = replace(found, eval_note=note + found.eval_note)
        method = found.methods[found.chosen]
        labels = known.labels
        calibration = calibrate(settings.calibrate.method, method.eval_log_odds, labels)
        described = _describe(chosen_members, method.combination.weights)

        model = artifact_utils.get_single_instance(output_dict["model"])
        folder = Path(path_utils.serving_model_dir(model.uri))
        # Members see the same pixels and were fitted on the same images: one speaks for all.
        first = next((m for m in chosen_members if m.detector is not None), chosen_members[0])
        export_ensemble(members, method.combination, calibration, compact, folder, first.detector)
        write_assets(
            folder,
            ModelJson(
                name=ENSEMBLE,
                classes=tuple(classes),
                image_size=members.image_size,
                compact=compact,
                members=described,
                ensemble=method.combination.parameters,
                calibration=calibration.to_json(classes),
                thresholds=class_thresholds(
                    classes,
                    labels,
                    calibration.apply(method.eval_log_odds),
                    settings.calibrate.sensitivity,
                    settings.calibrate.specificity,
                ),
                out_of_distribution=first.out_of_distribution,
                data=settings.data_version,
                split=settings.split,
                code=exec_properties["code_version"],
                synthetic=synthetic,
            ),
            first.detector,
        )
        if note and known.image_id is not None:
            honest = OutOfFold(
                known.image_id,
                known.patients,
                labels,
                method.eval_log_odds,
                calibration.apply(method.eval_log_odds),
            )
            write_out_of_fold(folder, honest)
        scores = artifact_utils.get_single_instance(output_dict["scores"])
        scores.set_int_custom_property("synthetic", int(synthetic))
        names = [member.name for member in chosen_members]
        learned, on_eval = None, predictions["eval"].images
        # More than eval: all members were cross-fitted.
        if on_eval is not None and len(known.labels) > len(on_eval):
            learned_from = split_files(input_dict["examples"], "train")
            train = read_table(learned_from, len(classes), settings.slices)
            learned = Table.together(train, on_eval)
        for scored in all_scores(names, predictions, known, method, calibration, settings, learned):
            write_scores(scored, Path(scores.uri))
        report = artifact_utils.get_single_instance(output_dict["report"])
        report.set_int_custom_property("synthetic", int(synthetic))
        os.makedirs(report.uri, exist_ok=True)
        content = _report(found, described, left_out, classes, synthetic)
        (Path(report.uri) / FILE_NAME).write_text(json.dumps(content, indent=1, allow_nan=False))


def _describe(members: list[Member], weights: np.ndarray) -> tuple[model_json.Member, ...]:
    return tuple(
        model_json.Member(m.name, m.backbone, m.head, float(weight))
        for m, weight in zip(members, weights, strict=True)
    )


def _report(
    found: Comparison,
    members: Sequence[model_json.Member],
    left_out: list[LeftOut],
    classes: list[str],
    synthetic: bool,
) -> dict[str, Any]:
    return {
        "chosen": found.chosen,
        "members": [asdict(member) for member in members],
        "left_out": [{"name": model.name, "reason": model.reason} for model in left_out],
        "synthetic": synthetic,
        "classes": classes,
        "scores": {
            split: {
                name: {
                    c: None if math.isnan(auc) else float(auc)
                    for c, auc in zip(classes, aucs, strict=True)
                }
                for name, aucs in scored.items()
            }
            for split, scored in found.scores.items()
        },
        "methods": [name for name in METHODS if name in found.scores["eval"]],
        "eval_note": found.eval_note,
    }
