"""What TFMA does with each example before the metrics; the Evaluator's `module_path`."""

from collections.abc import Iterator
from typing import Any

import apache_beam as beam
import tensorflow_model_analysis as tfma

from cxrflow.schema.progress import report


def custom_extractors(
    eval_shared_model: Any, eval_config: Any, tensor_adapter_config: Any
) -> list[tfma.extractors.Extractor]:
    """TFMA's own extractors, then progress; TFX's Evaluator calls a function of this name."""
    return [
        *tfma.default_extractors(
            eval_shared_model=eval_shared_model,
            eval_config=eval_config,
            tensor_adapter_config=tensor_adapter_config,
        ),
        tfma.extractors.Extractor("ReportProgress", beam.ParDo(_ReportProgress())),
    ]


class _ReportProgress(beam.DoFn):
    """Counts the examples that pass."""

    def setup(self) -> None:
        self._done = 0

    def process(self, extracts: tfma.Extracts) -> Iterator[tfma.Extracts]:
        self._done += 1
        report(self._done, None)
        yield extracts
