"""What TFMA does with each example before the metrics; the Evaluator's `module_path`."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import apache_beam as beam
import numpy as np
import tensorflow_model_analysis as tfma
from tensorflow_model_analysis.extractors.predictions_extractor import (
    PREDICTIONS_EXTRACTOR_STAGE_NAME,
)

from cxrflow.components.model.out_of_fold import OutOfFold, read_out_of_fold
from cxrflow.schema.features import IMAGE_ID, T_IMAGE
from cxrflow.schema.progress import report

_BATCH = 16  # images that a model is asked at once
_SAID, _NEW = "said", "new"  # batches that are known out of fold, and others


def custom_extractors(
    eval_shared_model: Any, eval_config: Any, tensor_adapter_config: Any
) -> list[tfma.extractors.Extractor]:
    """TFMA's own extractors, but: a cross-fitted model is judged by its out-of-fold scores.

    TFX's Evaluator calls a function of this name. A model's own answers stand where it has learned
    nothing from the image, as on test. No model is asked about images that all have learned from.
    """
    models = eval_shared_model if isinstance(eval_shared_model, list) else [eval_shared_model]
    found = {model.model_name: read_out_of_fold(Path(model.model_path)) for model in models}
    known = _Known.of({name: scores for name, scores in found.items() if scores}, len(models))
    stages = tfma.default_extractors(
        eval_shared_model=eval_shared_model,
        eval_config=eval_config,
        tensor_adapter_config=tensor_adapter_config,
    )
    names = [stage.stage_name for stage in stages]
    asked = names.index(PREDICTIONS_EXTRACTOR_STAGE_NAME)
    # Metrics take what comes out of the stage that finds the slices.
    last = names.index(tfma.extractors.SLICE_KEY_EXTRACTOR_STAGE_NAME)
    stages[asked] = stages[asked]._replace(ptransform=_Predicted(stages[asked].ptransform, known))
    honest = tfma.extractors.Extractor("OutOfFold", beam.ParDo(_OutOfFold(known)))
    progress = tfma.extractors.Extractor("ReportProgress", beam.ParDo(_ReportProgress()))
    small = tfma.extractors.Extractor("SmallBatches", beam.FlatMap(_small_batches, known))
    return [small, *stages[:last], honest, *stages[last:], progress]


def _small_batches(extracts: tfma.Extracts, known: "_Known") -> Iterator[tfma.Extracts]:
    """A batch of examples in parts: Beam's grow to a thousand, of which a network makes 10 GB.

    No part holds both images of which all is known and others.
    """
    batch = extracts[tfma.ARROW_RECORD_BATCH_KEY]
    (names,) = (batch.column(i) for i, name in enumerate(batch.schema.names) if name == IMAGE_ID)
    said = np.array([known.of_all([image.decode()]) is not None for (image,) in names.to_pylist()])
    for rows in (np.flatnonzero(said), np.flatnonzero(~said)):
        for start in range(0, len(rows), _BATCH):
            part = rows[start : start + _BATCH]
            yield {
                key: value.take(part) if key == tfma.ARROW_RECORD_BATCH_KEY else value[part]
                for key, value in extracts.items()
            }


@dataclass(frozen=True)
class _Known:
    """Scores out of fold, of the models that have any."""

    scores: dict[str, OutOfFold]  # by the model's name
    rows: dict[str, dict[str, int]]  # by that and the image
    models: int  # of all; of several, predictions come by the model's name

    @classmethod
    def of(cls, scores: dict[str, OutOfFold], models: int) -> "_Known":
        rows = {
            name: {image: row for row, image in enumerate(one.image_id.tolist())}
            for name, one in scores.items()
        }
        return cls(scores, rows, models)

    def of_all(self, images: Sequence[str]) -> dict[str, Any] | None:
        """What all models say of these images out of fold; None where one has no such score."""
        if len(self.scores) < self.models:
            return None
        if not all(image in rows for rows in self.rows.values() for image in images):
            return None
        found = {
            name: self.of_model(name, [rows[image] for image in images])
            for name, rows in self.rows.items()
        }
        return found if self.models > 1 else next(iter(found.values()))

    def of_model(self, name: str, rows: int | list[int]) -> dict[str, np.ndarray]:
        """What one model says of the images in these rows of its own."""
        one = self.scores[name]
        return {"probabilities": one.probabilities[rows], "logits": one.logits[rows]}


class _Predicted(beam.PTransform):
    """Asks the models about batches of images, but not where all is known of a whole batch."""

    def __init__(self, ask: beam.PTransform, known: _Known) -> None:
        super().__init__()
        self._ask, self._known = ask, known

    def expand(self, batches: beam.PCollection) -> beam.PCollection:
        """Turns extracts with features into extracts with features and predictions."""
        parts = batches | beam.ParDo(_SayKnown(self._known)).with_outputs(_SAID, main=_NEW)
        answered = {"known": parts[_SAID], "asked": parts[_NEW] | self._ask}
        # Beam's own runner keeps in memory whatever is flattened: of every image of the set.
        return (
            part | f"WithoutImages.{name}" >> beam.Map(_without_images)
            for name, part in answered.items()
        ) | beam.Flatten()


def _without_images(batch: tfma.Extracts) -> tfma.Extracts:
    """A batch without what only the models needed, which is nearly all of its bytes."""
    features = {name: value for name, value in batch[tfma.FEATURES_KEY].items() if name != T_IMAGE}
    needed = {key: value for key, value in batch.items() if key != tfma.INPUT_KEY}
    return {**needed, tfma.FEATURES_KEY: features}


class _SayKnown(beam.DoFn):
    """Gives a batch its predictions where all are known out of fold."""

    def __init__(self, known: _Known) -> None:
        self._known = known

    def process(self, batch: tfma.Extracts) -> Iterator[Any]:
        images = np.ravel(batch[tfma.FEATURES_KEY][IMAGE_ID])
        found = self._known.of_all([image.decode() for image in images])
        if found is None:
            yield batch
        else:
            yield beam.pvalue.TaggedOutput(_SAID, {**batch, tfma.PREDICTIONS_KEY: found})


class _OutOfFold(beam.DoFn):
    """Puts out-of-fold scores in the place of predictions, where there are any."""

    def __init__(self, known: _Known) -> None:
        self._known = known

    def process(self, extracts: tfma.Extracts) -> Iterator[tfma.Extracts]:
        predictions = extracts[tfma.PREDICTIONS_KEY]
        for name, rows in self._known.rows.items():
            (image,) = np.ravel(extracts[tfma.FEATURES_KEY][IMAGE_ID])
            row = rows.get(image.decode())
            if row is None:
                continue
            honest = self._known.of_model(name, row)
            if self._known.models > 1:
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
