"""TensorFlow Model Analysis scores a class on the examples of which it is known."""

import numpy as np
import pytest

pytestmark = pytest.mark.tf


def test_scores_and_plots_are_of_the_known_examples():
    from tensorflow_model_analysis.metrics import metric_types
    from tensorflow_model_analysis.metrics.calibration_plot import CALIBRATION_PLOT_NAME

    from cxrflow.components.evaluate.metrics import _ClassScoresCombiner
    from cxrflow.components.evaluate.scores import calibration_scores, class_scores
    from cxrflow.components.evaluate.tfma_config import BASELINE, eval_config

    config = eval_config(2, ())
    del config.model_specs[[spec.name for spec in config.model_specs].index(BASELINE)]
    combiner = _ClassScoresCombiner(2, config, "")
    random = np.random.default_rng(0)
    labels = random.integers(0, 2, (40, 2)).astype(np.float32)
    logits = random.normal(labels, 1.5).astype(np.float32)
    probabilities = 1 / (1 + np.exp(-logits))
    labels[:15, 0] = np.nan
    rows = combiner.create_accumulator()
    for label, probability, logit in zip(labels, probabilities, logits, strict=True):
        element = metric_types.StandardMetricInputs(
            label=label, prediction={"probabilities": probability, "logits": logit}
        )
        rows = combiner.add_input(rows, element)
    found = combiner.extract_output(rows)

    def value(name, place):
        return found[metric_types.MetricKey(name, sub_key=metric_types.SubKey(class_id=place))]

    for place, known in ((0, slice(15, None)), (1, slice(None))):
        y, p, x = labels[known, place], probabilities[known, place], logits[known, place]
        for name, score in {**class_scores(y, p), **calibration_scores(y, p, x)}.items():
            assert value(name, place) == pytest.approx(score), (name, place)
        (key,) = [
            key
            for key in found
            if key.name == CALIBRATION_PLOT_NAME and key.sub_key.class_id == place
        ]
        counted = sum(one.num_weighted_examples.value for one in found[key].buckets)
        assert counted == len(y)
