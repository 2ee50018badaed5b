"""What is known of a run, read once for all pages; words in place of what can't be had."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cxrflow.components.ensemble.report import read_report
from cxrflow.components.ensemble.settings import final_model
from cxrflow.components.evaluate.verdict import FILE_NAME, Verdict, read_verdict
from cxrflow.components.score.files import Scores
from cxrflow.pipeline.metadata_server import MetadataConfig
from cxrflow.pipeline.reports.dashboard.evaluations import Evaluation, load
from cxrflow.pipeline.reports.dashboard.lineage import PipelineRun, read_runs
from cxrflow.pipeline.reports.dashboard.predictions import (
    Drawn,
    Predictions,
    draw_aucs,
    find_predictions,
)
from cxrflow.pipeline.reports.dashboard.run_folder import RunFolder
from cxrflow.pipeline.reports.explain import find_model
from cxrflow.schema.errors import CxrflowError
from cxrflow.schema.model_json import ModelJson, read_model_json
from cxrflow.schema.progress import report as report_progress

_EVALUATOR = re.compile(r"Evaluator(?:\.(?P<member>.+))?")
NO_SCORES = (
    "This run kept no score of each X-ray: it is of an older version, or it stopped before. Run "
    "the pipeline again; what hasn't changed comes from its cache."
)
NO_EVALUATION = "The run has no evaluation: run the pipeline again to have it."


@dataclass(frozen=True)
class Evidence:
    """What pages are made from."""

    run: RunFolder
    final: str  # the model that may be pushed
    classes: tuple[str, ...]
    verdict: Verdict | None
    report: Mapping[str, Any] | None  # the ensemble's; None where one model was trained
    info: ModelJson | None  # the final model's model.json
    evaluations: Mapping[str, Evaluation]  # by model, the final one first
    predictions: Predictions
    drawn: Drawn  # AUCs of the same
    runs: tuple[PipelineRun, ...]
    why: Mapping[str, str] = field(default_factory=dict)  # what is missing -> why

    def scored(self, split: str) -> Scores | None:
        """The final model's scores of a split."""
        return self.predictions.get(self.final, {}).get(split)

    def lacking(self, what: str, otherwise: str) -> str:
        """Why something is missing."""
        return self.why.get(what) or otherwise


def gather(run: RunFolder) -> Evidence:
    """Reads a run. What is missing or damaged is left out, and `why` says so."""
    why: dict[str, str] = {}
    final = _final_name(run)
    evaluations = _evaluations(run, final, why)
    classes = next(iter(evaluations.values())).classes if evaluations else ()
    classes = classes or tuple(run.ingest["classes"])
    predictions = _predictions(run, final, classes, why)
    return Evidence(
        run=run,
        final=final,
        classes=classes,
        verdict=_verdict(run, why),
        report=_ensemble_report(run, why),
        info=_model_json(run, why),
        evaluations=evaluations,
        predictions=predictions,
        drawn=draw_aucs(predictions),
        runs=_runs(run, why),
        why=why,
    )


def _final_name(run: RunFolder) -> str:
    trained = [node.partition(".")[2] for node in run.artifacts if node.startswith("Trainer.")]
    return final_model(trained) if trained else "model"


def _evaluations(run: RunFolder, final: str, why: dict[str, str]) -> dict[str, Evaluation]:
    """By model: the one that may be pushed first, then the members."""
    nodes = [m for m in map(_EVALUATOR.fullmatch, sorted(run.artifacts)) if m]
    found = {}
    for done, node in enumerate(nodes, 1):
        name = node["member"] or final
        try:
            folder = Path(run.artifacts[node[0]]["evaluation"])
            found[name] = load(folder, run.ingest["classes"])
        except (CxrflowError, KeyError) as error:
            why[f"evaluation of {name}"] = str(error)
        report_progress(done, len(nodes), "evaluations")
    return found


def _verdict(run: RunFolder, why: dict[str, str]) -> Verdict | None:
    try:
        return read_verdict(Path(run.artifacts["Gate"]["verdict"]) / FILE_NAME)
    except KeyError:
        why["verdict"] = "The gate hasn't judged this run's model."
    except CxrflowError as error:
        why["verdict"] = str(error)
    return None


def _ensemble_report(run: RunFolder, why: dict[str, str]) -> dict[str, Any] | None:
    if "Ensemble" not in run.artifacts:
        return None
    try:
        return read_report(Path(run.artifacts["Ensemble"]["report"]))
    except (CxrflowError, KeyError) as error:
        why["ensemble"] = str(error)
        return None


def _model_json(run: RunFolder, why: dict[str, str]) -> ModelJson | None:
    try:
        if run.model is None:
            raise CxrflowError("the run has no model")
        return read_model_json(find_model(run.model))
    except CxrflowError as error:
        why["model"] = str(error)
        return None


def _predictions(
    run: RunFolder, final: str, classes: tuple[str, ...], why: dict[str, str]
) -> Predictions:
    found = find_predictions(run, classes, why)
    if not found.get(final):
        why["scores"] = why.get(f"scores of {final} on test") or NO_SCORES
    return found


def _runs(run: RunFolder, why: dict[str, str]) -> tuple[PipelineRun, ...]:
    try:
        metadata = MetadataConfig(**run.config.get("metadata", {}))
        return read_runs(run.root, metadata, run.config.get("name", ""))
    except CxrflowError as error:
        why["lineage"] = str(error)
        return ()
