"""All that a run knows of its model, gathered from what its nodes wrote."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cxrflow.components.card.cost import Training, training_cost
from cxrflow.components.card.data import SplitCounts, count_splits
from cxrflow.components.card.figures import Figures, read_figures
from cxrflow.components.card.settings import CardSettings
from cxrflow.components.card.shortcuts import Shortcut, shortcuts
from cxrflow.components.localise.report import Localisation, read_localisation
from cxrflow.schema.errors import CxrflowError, unreadable
from cxrflow.schema.model_json import ModelJson, read_model_json
from cxrflow.schema.packages import installed

PACKAGES = ("cxrflow", "tensorflow", "keras", "tfx", "numpy")


@dataclass(frozen=True)
class Folders:
    """Where a run's nodes wrote what; None where a node isn't part of the run."""

    model: Path  # the SavedModel
    verdict: Path
    records: Path
    quarantine: Path | None = None
    networks: Path | None = None  # RecipeCheck's report
    trainings: Mapping[str, Path] = field(default_factory=dict)  # model_run by the model's name
    ensemble: Path | None = None
    localisation: Path | None = None
    baselines: Path | None = None  # scores of the simplest models


@dataclass(frozen=True)
class Evidence:
    """What a card is written from."""

    info: ModelJson
    figures: Figures
    splits: tuple[SplitCounts, ...]
    trainings: tuple[Training, ...]
    quarantine: Mapping[str, Any] | None  # rows, set_aside, reasons
    ensemble: Mapping[str, Any] | None  # see components/ensemble/report.py
    localisation: Localisation | None
    settings: CardSettings
    versions: Mapping[str, str]  # of PACKAGES
    outputs: "Outputs"
    shortcuts: tuple[Shortcut, ...] = ()


@dataclass(frozen=True)
class Outputs:
    """What a SavedModel's signatures take and give beside what model.json says."""

    attention: tuple[int, ...]  # a map's rows and columns, and classes where it has one for each


def gather(folders: Folders, settings: CardSettings) -> Evidence:
    """Reads everything.

    Raises:
        CxrflowError: the model or the verdict can't be read, or another report is damaged.
    """
    info = read_model_json(folders.model)
    sizes = _json(folders.networks, "networks.json")
    figures = read_figures(folders.verdict)
    names = [member.name for member in info.members if member.name in folders.trainings]
    return Evidence(
        info=info,
        figures=figures,
        splits=count_splits(folders.records, info.classes),
        trainings=tuple(training_cost(name, folders.trainings[name], sizes) for name in names),
        quarantine=_json(folders.quarantine, "summary.json"),
        ensemble=_json(folders.ensemble, "ensemble.json"),
        localisation=read_localisation(folders.localisation) if folders.localisation else None,
        settings=settings,
        versions={name: installed(name) or "not installed" for name in PACKAGES},
        outputs=Outputs(attention_shape(folders.model)),
        shortcuts=_shortcuts(folders.baselines, figures),
    )


def _shortcuts(baselines: Path | None, figures: Figures) -> tuple[Shortcut, ...]:
    if baselines is None:
        return ()
    return shortcuts(baselines, figures.split, [item.result for item in figures.classes])


def attention_shape(saved_model: Path) -> tuple[int, ...]:
    """Rows, columns and, where there is a map a class, classes; empty without an attention map."""
    from tensorflow.core.protobuf import saved_model_pb2

    try:
        graphs = saved_model_pb2.SavedModel.FromString(
            (saved_model / "saved_model.pb").read_bytes()
        ).meta_graphs
    except OSError as error:
        raise unreadable(saved_model, error) from None
    signature = graphs[0].signature_def.get("attention")
    if signature is None or "attention" not in signature.outputs:
        return ()
    return tuple(axis.size for axis in signature.outputs["attention"].tensor_shape.dim[1:])


def _json(folder: Path | None, name: str) -> Any:
    """The content of a report; None where there is none."""
    if folder is None:
        return None
    try:
        return json.loads((folder / name).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise CxrflowError(f"{folder / name} can't be read ({error})") from None
