"""Runs all variants of a candidate bundle against their source, and makes the bundle that ships."""

import json
import logging
import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from cxrflow.components.edge.export.settings import EdgeConfig
from cxrflow.components.edge.export.source import Source
from cxrflow.components.edge.parity.decisions import Decisions
from cxrflow.components.edge.parity.judge import judge, kind_of
from cxrflow.components.edge.parity.parity import PairedBootstrap
from cxrflow.components.edge.parity.report import ParityReport, VariantReport, write_report
from cxrflow.components.edge.parity.sample import Sample, read_sample
from cxrflow.components.edge.run import VariantError, run_variant
from cxrflow.components.edge.runners import MODEL_JSON, read_description
from cxrflow.schema.model_json import CompactFormat
from cxrflow.schema.progress import report


def evaluate(
    candidate: Path, saved_model: Path, eval_files: Sequence[str], config: EdgeConfig
) -> ParityReport:
    """Compares every variant with the SavedModel that it was made from, on the same pixels.

    Args:
        candidate: bundle with all variants.
        saved_model: their source.
        eval_files: TFRecords of transformed examples.
        config: how many images, and what is allowed.

    Raises:
        CxrflowError: there are no images to compare on.
    """
    info = read_description(candidate)
    classes = info["classes"]
    with tempfile.TemporaryDirectory() as work_dir:
        sample = read_sample(
            eval_files,
            CompactFormat(**info["compact"]),
            info["image_size"],
            len(classes),
            config.evaluation_images,
            Path(work_dir, "pixels.npy"),
        )
        positives = np.nansum(sample.labels, axis=0)
        found = ParityReport(
            model=info["name"],
            synthetic=info["synthetic"],
            images=len(sample.labels),
            patients=len(np.unique(sample.patients)),
            draws=config.draws,
            max_difference=config.max_difference,
            max_auc_loss=config.max_auc_loss,
            max_class_decision_change=config.max_class_decision_change,
            decision_folds=config.decision_folds,
            positives={c: int(n) for c, n in zip(classes, positives, strict=True)},
        )
        with tf.device("/CPU:0"):  # as all variants
            source = Source(saved_model).probabilities(np.load(sample.pixels, mmap_mode="r"))
        if not np.isfinite(source).all():
            return replace(found, reason="the source model's own answers aren't finite")
        bootstrap = PairedBootstrap(sample.labels, sample.patients, source, config.draws)
        decisions = Decisions(
            source,
            sample.labels,
            sample.patients,
            classes,
            info["thresholds"],
            config.decision_folds,
            config.draws,
        )
        variants = {
            key: _evaluated(candidate, key, info, sample, bootstrap, decisions, config)
            for key in info["variants"]
        }
    for key, variant in variants.items():
        if not variant.blessed:
            logging.warning("edge variant %s isn't blessed: %s", key, variant.reasons[0])
    return replace(found, variants=variants)


def write_bundle(candidate: Path, found: ParityReport, bundle: Path) -> None:
    """Copies what may ship: blessed variants, figures in model.json, and everything around them."""
    info = read_description(candidate)
    refused = {v.file for v in found.variants.values() if not v.blessed}
    shutil.copytree(
        candidate,
        bundle,
        dirs_exist_ok=True,
        ignore=lambda folder, names: refused if Path(folder) == candidate else set(),
    )
    info["variants"] = {
        key: {
            **info["variants"][key],
            "max_difference": found.variants[key].max_difference,
            "mean_difference": found.variants[key].mean_difference,
            "mean_auc_loss": found.variants[key].mean_auc_loss,
            "decision_change": found.variants[key].decision_change,
            **_own_thresholds(found.variants[key]),
        }
        for key in found.blessed
    }
    if "frozen_graph" not in info["variants"]:
        info.pop("frozen_graph", None)
    text = json.dumps(info, indent=2, allow_nan=False) + "\n"
    (bundle / MODEL_JSON).write_text(text, encoding="utf-8")
    write_report(found, bundle)


def _own_thresholds(variant: VariantReport) -> dict[str, Any]:
    return {} if variant.thresholds is None else {"thresholds": variant.thresholds}


def _evaluated(
    candidate: Path,
    key: str,
    info: dict[str, Any],
    sample: Sample,
    source: PairedBootstrap,
    decisions: Decisions,
    config: EdgeConfig,
) -> VariantReport:
    file = info["variants"][key]["file"]
    path = candidate / file
    size = path.stat().st_size if path.is_file() else 0
    images = len(sample.labels)
    if broken := info["variants"][key].get("broken"):  # without golden answers it can't be checked
        return VariantReport(file, size, kind_of(key), (f"it didn't run at the export: {broken}",))
    try:
        answers = run_variant(
            candidate,
            key,
            sample.pixels,
            lambda count: report(count, images, f"images by {key}"),
            config.answer_seconds,
        )
    except VariantError as error:
        return VariantReport(file, size, kind_of(key), (f"it doesn't run: {error}",))
    return judge(key, file, size, answers, source, decisions, info["classes"], config)
