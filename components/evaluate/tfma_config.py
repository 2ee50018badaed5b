"""What TFX's Evaluator computes."""

import json
from collections.abc import Sequence

from tensorflow_model_analysis.proto import config_pb2 as tfma

from cxrflow.components.evaluate.results import BASELINE, CANDIDATE
from cxrflow.schema.features import SPLIT, T_LABELS

SIGNATURE = "transformed_examples"  # takes serialized transformed examples, no original is decoded


def eval_config(num_classes: int, slices: Sequence[str], code_version: str = "") -> tfma.EvalConfig:
    """Per-class scores of the candidate, and of the baseline when there is one.

    Args:
        num_classes: C, the length of the k-hot label and of `probabilities`.
        slices: names of features; scores are computed for each split, and in it for each of
            their values.
        code_version: a changed one makes cached results stale.
    """
    config = json.dumps({"num_classes": num_classes, "code_version": code_version})
    return tfma.EvalConfig(
        # The Evaluator drops the baseline's spec where no baseline model comes in.
        model_specs=[
            tfma.ModelSpec(
                name=name,
                is_baseline=name == BASELINE,
                signature_name=SIGNATURE,
                label_key=T_LABELS,
                prediction_key="probabilities",
            )
            for name in (CANDIDATE, BASELINE)
        ],
        metrics_specs=[
            tfma.MetricsSpec(
                metrics=[
                    tfma.MetricConfig(class_name="ExampleCount"),
                    tfma.MetricConfig(
                        class_name="ClassScores",
                        module="cxrflow.components.evaluate.metrics",
                        config=config,
                    ),
                ]
            )
        ],
        slicing_specs=[
            tfma.SlicingSpec(feature_keys=[SPLIT]),
            *(tfma.SlicingSpec(feature_keys=[SPLIT, feature]) for feature in slices),
        ],
    )
