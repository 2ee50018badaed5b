"""What TFMA does with each example before the metrics; the Evaluator's `module_path`."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import apache_beam as beam
import numpy as np
import tensorflow_model_analysis as tfma

from cxrflow.components.model.out_of_fold import OutOfFold, read_out_of_fold
from cxrflow.schema.features import IMAGE_ID
from cxrflow.schema.progress import report

_BATCH = 16  # images that a model is asked at once


def custom_extractors(
    eval_shared_model: Any, eval_config: Any, tensor_adapter_config: Any
) -> list[tfma.extractors.Extractor]:
    """TFMA's own extractors, and then: a cross-fitted model is judged by its out-of-fold scores.

    TFX's Evaluator calls a function of this name. A model's own answers stand where it has learned
    nothing from the image, as on test.
    """
    models = eval_shared_model if isinstance(eval_shared_model, list) else [eval_shared_model]
    found = {model.model_name: read_out_of_fold(Path(model.model_path)) for model in models}
    known = {name: scores for name, scores in found.items() if scores}
    stages = tfma.default_extractors(
        eval_shared_model=eval_shared_model,
        eval_config=eval_config,
        tensor_adapter_config=tensor_adapter_config,
    )
    # Metrics take what comes out of the stage that finds the slices.
    last = [stage.stage_name for stage in stages].index(
        tfma.extractors.SLICE_KEY_EXTRACTOR_STAGE_NAME
    )
    honest = tfma.extractors.Extractor("OutOfFold", beam.ParDo(_OutOfFold(known, len(models) > 1)))
    progress = tfma.extractors.Extractor("ReportProgress", beam.ParDo(_ReportProgress()))
    small = tfma.extractors.Extractor("SmallBatches", beam.FlatMap(_small_batches))
    return [small, *stages[:last], honest, *stages[last:], progress]


def _small_batches(extracts: tfma.Extracts) -> Iterator[tfma.Extracts]:
    """A batch of examples in parts: Beam's grow to a thousand, of which a network makes 10 GB."""
    rows = extracts[tfma.ARROW_RECORD_BATCH_KEY].num_rows
    for start in range(0, rows, _BATCH):
        part = slice(start, min(start + _BATCH, rows))
        yield {
            key: value.slice(start, _BATCH) if key == tfma.ARROW_RECORD_BATCH_KEY else value[part]
            for key, value in extracts.items()
        }


class _OutOfFold(beam.DoFn):
    """Puts out-of-fold scores in the place of predictions, where there are any."""

    def __init__(self, known: Mapping[str, OutOfFold], several: bool) -> None:
        """known: by the model's name; several: predictions come by the model's name."""
        self._known = [
            (name, scores, {image: row for row, image in enumerate(scores.image_id.tolist())})
            for name, scores in known.items()
        ]
        self._several = several

    def process(self, extracts: tfma.Extracts) -> Iterator[tfma.Extracts]:
        predictions = extracts[tfma.PREDICTIONS_KEY]
        for name, scores, rows in self._known:
            (image,) = np.ravel(extracts[tfma.FEATURES_KEY][IMAGE_ID])
            row = rows.get(image.decode())
            if row is None:
                continue
            honest = {"probabilities": scores.probabilities[row], "logits": scores.logits[row]}
            if self._several:
                predictions = {**predictions, name: {**predictions[name], **honest}}
            else:
                predictions = {**predictions, **honest}
        yield {**extracts, tfma.PREDICTIONS_KEY: predictions}


class _ReportProgress(beam.DoFn):
    """Counts the examples that pass."""

    def setup(self) -> None:
        self._done = 0

    def process(self, extracts: tfma.Extracts) -> Iterator[tfma.Extracts]:
        self._done += 1
        report(self._done, None)
        yield extracts
