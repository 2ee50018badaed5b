"""RecipeCheck's executor."""

import dataclasses
import json
from pathlib import Path
from typing import Any

from tfx.dsl.components.base import base_executor
from tfx.types import artifact_utils

from cxrflow.components.node import Artifacts, read_settings
from cxrflow.components.train.check import check_floor, check_recipes
from cxrflow.components.train.settings import RecipeCheckSettings


class Executor(base_executor.BaseExecutor):
    """Stops the run on a recipe whose network can't be built, or converted where it has to be."""

    def Do(
        self, input_dict: Artifacts, output_dict: Artifacts, exec_properties: dict[str, Any]
    ) -> None:
        """Writes `networks.json`: {name: {"parameters": int, "trained": int}}, and "start", in
        words, where a model starts from another one.

        Raises:
            CxrflowError: names the first member at fault.
        """
        settings = read_settings(RecipeCheckSettings, exec_properties)
        sizes = check_recipes(settings.recipes, settings.classes, settings.exported)
        check_floor(settings.floor, settings.classes)
        path = Path(artifact_utils.get_single_uri(output_dict["report"])) / "networks.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        content = {
            name: {key: value for key, value in dataclasses.asdict(size).items() if value != ""}
            for name, size in sizes.items()
        }
        path.write_text(json.dumps(content, indent=2) + "\n")
