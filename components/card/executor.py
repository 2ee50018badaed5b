"""Writes the model card inside TFX."""

from pathlib import Path
from typing import Any

from tfx import types
from tfx.dsl.components.base import base_executor
from tfx.types import artifact_utils
from tfx.utils import path_utils

from cxrflow.components.card.evidence import Folders, gather
from cxrflow.components.card.reference import write_reference
from cxrflow.components.card.settings import CardSettings
from cxrflow.components.card.write import write_card
from cxrflow.components.node import read_settings


class Executor(base_executor.BaseExecutor):
    """Gathers what the run knows of its model."""

    def Do(
        self,
        input_dict: dict[str, list[types.Artifact]],
        output_dict: dict[str, list[types.Artifact]],
        exec_properties: dict[str, Any],
    ) -> None:
        """Writes the card; see `component.ModelCard`."""
        settings = read_settings(CardSettings, exec_properties)
        folders = Folders(
            model=Path(path_utils.serving_model_path(_only(input_dict, "model") or "")),
            verdict=Path(_only(input_dict, "verdict") or ""),
            records=Path(_only(input_dict, "records") or ""),
            quarantine=_folder(input_dict, "quarantine"),
            networks=_folder(input_dict, "networks"),
            trainings=trainings([Path(one.uri) for one in input_dict["model_runs"]]),
            ensemble=_folder(input_dict, "ensemble"),
            localisation=_folder(input_dict, "localisation"),
            baselines=_folder(input_dict, "baselines"),
        )
        card = artifact_utils.get_single_instance(output_dict["card"])
        evidence = gather(folders, settings)
        write_card(evidence, Path(card.uri))
        write_reference(
            folders.records,
            examples=Path(_only(input_dict, "examples") or ""),
            scores=Path(_only(input_dict, "scores") or ""),
            model=evidence.info.name,
            images=settings.card.reference_images,
            folder=Path(card.uri),
        )
        card.set_int_custom_property("synthetic", int(settings.synthetic))


def trainings(folders: list[Path]) -> dict[str, Path]:
    """By the models' names: TFX puts them into `Trainer.<name>/model_run/<execution>`."""
    return {folder.parts[-3].partition(".")[2]: folder for folder in folders}


def _only(input_dict: dict[str, list[types.Artifact]], name: str) -> str | None:
    artifacts = input_dict.get(name)
    return artifact_utils.get_single_uri(artifacts) if artifacts else None


def _folder(input_dict: dict[str, list[types.Artifact]], name: str) -> Path | None:
    uri = _only(input_dict, name)
    return Path(uri) if uri else None
