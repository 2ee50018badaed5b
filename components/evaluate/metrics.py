"""The TFMA metric behind every per-class figure: exact, for all classes in one pass.

TFMA's own AUC sorts probabilities into 10,000 buckets of .0001. That is off by .002 to .02 for a
class whose probabilities lie near 0, gives 0.0 instead of NaN without positives and fails on NaN.
"""

from collections.abc import Iterable

import apache_beam as beam
import numpy as np
from tensorflow_model_analysis.metrics import metric_types, metric_util
from tensorflow_model_analysis.proto import config_pb2

from cxrflow.components.evaluate.plots import Plot, class_plots
from cxrflow.components.evaluate.scores import calibration_scores, class_scores

SCORES = (
    *class_scores(np.zeros(0), np.zeros(0)),
    *calibration_scores(np.zeros(0), np.zeros(0), np.zeros(0)),
)


class ClassScores(metric_types.Metric):
    """The scores of module `scores` for each class of a k-hot label, keyed by name and class id.

    Each is of the examples whose label of the class is known (no NaN).
    """

    def __init__(self, num_classes: int, code_version: str = "", name: str = "class_scores"):
        """Metric for labels, `probabilities` and `logits` of shape [num_classes].

        A changed `code_version` makes the Evaluator's cached results stale; nothing else reads it.
        """
        super().__init__(
            metric_util.merge_per_key_computations(_computations),
            num_classes=num_classes,
            code_version=code_version,
            name=name,
        )


metric_types.register_metric(ClassScores)


def _computations(
    num_classes: int,
    code_version: str,
    name: str,
    eval_config: config_pb2.EvalConfig | None = None,
    model_name: str = "",
) -> metric_types.MetricComputations:
    keys = [
        metric_types.MetricKey(
            name=score, model_name=model_name, sub_key=metric_types.SubKey(class_id=i)
        )
        for i in range(num_classes)
        for score in SCORES
    ]
    combiner = _ClassScoresCombiner(num_classes, eval_config, model_name)
    return [metric_types.MetricComputation(keys=keys, preprocessors=None, combiner=combiner)]


class _ClassScoresCombiner(beam.CombineFn):
    """Collects float32 rows of labels, probabilities, logits: 12 C bytes an example and slice."""

    def __init__(self, num_classes: int, eval_config: config_pb2.EvalConfig, model_name: str):
        self._num_classes = num_classes
        self._model_name = model_name
        self._eval_config = eval_config
        self._logits_config = config_pb2.EvalConfig()
        self._logits_config.CopyFrom(eval_config)
        for spec in self._logits_config.model_specs:
            spec.prediction_key = "logits"

    def create_accumulator(self) -> bytearray:
        return bytearray()

    def add_input(self, rows: bytearray, element: metric_types.StandardMetricInputs) -> bytearray:
        label, probability = self._label_and(self._eval_config, element)
        _, logit = self._label_and(self._logits_config, element)
        for values in (label, probability, logit):
            row = np.asarray(values, np.float32).reshape(-1)
            if row.size != self._num_classes:
                raise ValueError(f"{row.size} labels or probabilities, not {self._num_classes}")
            rows += row.tobytes()
        return rows

    def _label_and(
        self, eval_config: config_pb2.EvalConfig, element: metric_types.StandardMetricInputs
    ) -> tuple[np.ndarray, np.ndarray]:
        """The label and what `eval_config` takes for the prediction, [num_classes] each."""
        ((label, prediction, _),) = metric_util.to_label_prediction_example_weight(
            element, eval_config=eval_config, model_name=self._model_name, flatten=False
        )
        return label, prediction

    def merge_accumulators(self, accumulators: Iterable[bytearray]) -> bytearray:
        return bytearray().join(accumulators)

    def extract_output(self, rows: bytearray) -> dict[metric_types.MetricKey, float | Plot]:
        table = np.frombuffer(rows, np.float32).reshape(-1, 3, self._num_classes)
        found: dict[metric_types.MetricKey, float | Plot] = {}
        for i in range(self._num_classes):
            of_class = table[:, :, i]
            labels, probabilities, logits = of_class[~np.isnan(of_class[:, 0])].T
            scores = class_scores(labels, probabilities)
            scores |= calibration_scores(labels, probabilities, logits)
            for score, value in scores.items():
                sub_key = metric_types.SubKey(class_id=i)
                found[metric_types.MetricKey(score, self._model_name, sub_key=sub_key)] = value
            found |= class_plots(labels, probabilities, i, self._model_name)
        return found
