"""TFX's tuner executor, which also keeps every trial's curve. Imports TFX."""

import shutil
from functools import partial
from pathlib import Path
from typing import Any

from tfx.components.tuner import executor
from tfx.types import artifact_utils

from cxrflow.components.resume import clear_when_safe
from cxrflow.components.study.results import write_results


class Executor(executor.Executor):
    """Runs the search, goes on with one that was killed, and writes `trials.json` beside it."""

    def Do(
        self,
        input_dict: dict[str, list[Any]],
        output_dict: dict[str, list[Any]],
        exec_properties: dict[str, Any],
    ) -> None:
        tuner = executor.search(input_dict, exec_properties, self._get_tmp_dir())
        executor.write_best_hyperparameters(tuner, output_dict)
        folder = artifact_utils.get_single_uri(output_dict["tuner_results"])
        write_results(Path(folder), tuner.results())
        clear_when_safe(partial(shutil.rmtree, tuner.directory))
