"""The pipeline: every node, and what it gets from which. Imports TFX.

Nothing is looked up here: what the wiring needs to know of the world comes as `Facts`.
"""

import dataclasses
from pathlib import Path
from typing import Any

from tfx.components import Trainer
from tfx.orchestration.pipeline import Pipeline
from tfx.proto.trainer_pb2 import EvalArgs, TrainArgs
from tfx.types.channel import BaseChannel, union

from cxrflow.components.card.component import ModelCard
from cxrflow.components.card.settings import CardSettings
from cxrflow.components.edge.export.component import EdgeExport
from cxrflow.components.edge.export.settings import EdgeExportSettings
from cxrflow.components.edge.parity.component import EdgeEvaluator
from cxrflow.components.edge.parity.settings import EdgeEvaluatorSettings
from cxrflow.components.edge.push.component import EdgePusher
from cxrflow.components.edge.push.settings import EdgePusherSettings
from cxrflow.components.ensemble.component import Ensemble
from cxrflow.components.ensemble.settings import ENSEMBLE, EnsembleSettings
from cxrflow.components.evaluate.component import Gate
from cxrflow.components.evaluate.member.component import MemberGate
from cxrflow.components.localise.component import Localiser
from cxrflow.components.localise.settings import LocaliserSettings
from cxrflow.components.publish.component import Pusher, ServingCheck, infra_validator
from cxrflow.components.publish.settings import PusherSettings
from cxrflow.components.storage import ARTIFACTS
from cxrflow.pipeline import beam_options
from cxrflow.pipeline.data_nodes import (
    Data,
    code_version,
    data_nodes,
    further_slices,
    recipe_check,
    split_of,
)
from cxrflow.pipeline.facts import Facts, edge_folder, serving_folder
from cxrflow.pipeline.judges import baselines, judged, judged_member, scorer
from cxrflow.pipeline.metadata_server import connection_config, pipeline_name
from cxrflow.pipeline.settings import DISTILLED, PipelineConfig

RUN_FN = "cxrflow.components.train.run.run_fn"  # what TFX's Trainer calls


def create_pipeline(config: PipelineConfig, data_dir: Path, root: Path, facts: Facts) -> Pipeline:
    """Wires all nodes: data, each member's training and evaluation, the model that is pushed.

    Args:
        config: a run's settings.
        data_dir: the X-rays.
        root: where artifacts, metadata and the pushed model go. Relative paths (the root is then
            the folder that is worked in) keep their caches when the root is moved.
    """
    check = recipe_check(config, facts)
    data = data_nodes(config, data_dir, facts, after=check)
    trainers = {
        name: _trainer(name, recipe, config, data, root) for name, recipe in config.members.items()
    }
    models = {name: trainer.outputs["model"] for name, trainer in trainers.items()}
    gates: dict[str, Gate | MemberGate] = {}
    floor = baselines(config, data)
    nodes = [check, *data.nodes, floor, *trainers.values()]
    reports = {
        "networks": check.outputs["report"],
        "baselines": floor.outputs["scores"],
        "model_runs": union([trainer.outputs["model_run"] for trainer in trainers.values()]),
    }
    if config.models:
        for name, model in models.items():
            evaluator, gates[name] = judged_member(name, model, config, data)
            nodes += [evaluator, gates[name]]
        members = [gate for gate in gates.values() if isinstance(gate, MemberGate)]
        ensemble = _ensemble(list(models.values()), members, config, data)
        reports["ensemble"] = ensemble.outputs["report"]
        nodes.append(ensemble)
        models[ENSEMBLE] = ensemble.outputs["model"]
        scores = ensemble.outputs["scores"]
    else:
        asked = scorer(models[config.pushed_model], data, config)
        nodes.append(asked)
        scores = asked.outputs["scores"]
    name = config.pushed_model
    *judges, gate = judged(name, models[name], scores, floor, config, data)
    gates[name] = gate
    lesson: dict[str, BaseChannel] = {}
    if config.distill.member:
        student = config.models[config.distill.member]
        trainer = _trainer(DISTILLED, student, config, data, root, teacher=models[name])
        models[DISTILLED] = trainer.outputs["model"]
        evaluator, gates[DISTILLED] = judged_member(DISTILLED, models[DISTILLED], config, data)
        asked = scorer(models[DISTILLED], data, config).with_id(f"Scorer.{DISTILLED}")
        lesson = {"scores": asked.outputs["scores"], "member_scores": scores}
        nodes += [trainer, evaluator, gates[DISTILLED], asked]
    if facts.boxes:
        localiser = _localiser(models[name], config, data)
        reports["localisation"] = localiser.outputs["report"]
        judges.append(localiser)
    card = _card(models[name], gate, scores, reports, config, data)
    nodes += [*judges, gate, card, *_pushed(models[name], gate, card, config, data, root)]
    if config.edge.enabled:
        # A member goes to the devices only where the model that is served is good too.
        needed = [gates[name] for name in {config.edge_model: None, name: None}]
        nodes += _edge(models[config.edge_model], needed, config, data, root, lesson)
    return assemble(config, nodes, root, facts)


def assemble(config: PipelineConfig, nodes: list[Any], root: Path, facts: Facts) -> Pipeline:
    """A pipeline of these nodes whose artifacts lie below `root`.

    Raises:
        CxrflowError: Beam doesn't know an option, or there is no such node.
    """
    beam_options.to_nodes(config.beam, nodes)
    return Pipeline(
        pipeline_name=pipeline_name(config.name, config.metadata, facts.root_id),
        pipeline_root=config.storage.artifacts or str(root / ARTIFACTS),
        components=nodes,
        enable_cache=True,
        metadata_connection_config=connection_config(config.metadata, root),
        beam_pipeline_args=beam_options.of_pipeline(config.beam),
    )


def _trainer(
    name: str,
    recipe: Any,
    config: PipelineConfig,
    data: Data,
    root: Path,
    teacher: BaseChannel | None = None,
) -> Any:
    learns = {"teacher": config.pushed_model, "soft_share": config.distill.soft_share}
    return Trainer(
        run_fn=RUN_FN,
        examples=data.transform.outputs["transformed_examples"],
        transform_graph=data.transform.outputs["transform_graph"],
        base_model=teacher,
        train_args=TrainArgs(splits=["train"]),
        eval_args=EvalArgs(splits=["eval"]),
        custom_config={
            "name": name,
            "train": dataclasses.asdict(recipe),
            "transform": dataclasses.asdict(config.transform),
            "calibrate": dataclasses.asdict(config.calibrate),
            "out_of_distribution": dataclasses.asdict(config.out_of_distribution),
            "classes": list(config.ingest.classes),
            "synthetic": data.facts.synthetic,
            "data_version": data.facts.data_version,
            "split": split_of(config, data.facts),
            "code_version": data.facts.sources.key(RUN_FN),
            "weights": data.facts.weights[config.distill.member if teacher else name],
            "work_dir": str(root / "work" / name),
            **(learns if teacher else {}),
        },
    ).with_id(f"Trainer.{name}")


def _ensemble(
    models: list[BaseChannel], gates: list[MemberGate], config: PipelineConfig, data: Data
) -> Ensemble:
    settings = EnsembleSettings(
        ensemble=config.ensemble,
        calibrate=config.calibrate,
        classes=config.ingest.classes,
        compact=config.transform,
        synthetic=data.facts.synthetic,
        data_version=data.facts.data_version,
        split=split_of(config, data.facts),
        slices=further_slices(config),
    )
    return Ensemble(
        settings,
        code_version(data.facts, Ensemble),
        models=union(models),
        verdicts=union([gate.outputs["verdict"] for gate in gates]),
        examples=data.transform.outputs["transformed_examples"],
    )


def _localiser(model: BaseChannel, config: PipelineConfig, data: Data) -> Localiser:
    """Where the model looks, against where radiologists saw something."""
    settings = LocaliserSettings(
        localise=config.localise,
        boxes=data.facts.boxes,
        boxes_version=data.facts.boxes_version,
        synthetic=data.facts.synthetic,
    )
    return Localiser(
        settings,
        code_version(data.facts, Localiser),
        model=model,
        examples=data.example_gen.outputs["examples"],
    )


def _card(
    model: BaseChannel,
    gate: Gate,
    scores: BaseChannel,
    reports: dict[str, BaseChannel],
    config: PipelineConfig,
    data: Data,
) -> ModelCard:
    """What the run knows of the model, for people and machines."""
    settings = CardSettings(
        card=config.card, cohort=config.ingest.cohort, synthetic=data.facts.synthetic
    )
    return ModelCard(
        settings,
        code_version(data.facts, ModelCard),
        model=model,
        verdict=gate.outputs["verdict"],
        records=data.example_gen.outputs["records"],
        examples=data.example_gen.outputs["examples"],
        scores=scores,
        quarantine=data.example_gen.outputs["quarantine"],
        **reports,
    )


def _pushed(
    model: BaseChannel, gate: Gate, card: ModelCard, config: PipelineConfig, data: Data, root: Path
) -> list[Any]:
    """The blessed model tried in a server, and put where servers look."""
    blessing = gate.outputs["blessing"]
    check = _serving_check(model, blessing, config, data)
    settings = PusherSettings(
        destination=str(serving_folder(config, root)),
        publish=config.publish,
        published=data.facts.published,
    )
    pusher = Pusher(
        settings,
        code_version(data.facts, Pusher),
        model=model,
        model_blessing=blessing,
        infra_blessing=check.outputs["blessing"] if check else None,
        card=card.outputs["card"],
    )
    return [*([check] if check else []), pusher]


def _serving_check(
    model: BaseChannel, blessing: BaseChannel, config: PipelineConfig, data: Data
) -> Any:
    """The node that the settings ask for, if any."""
    settings = config.serving_check
    examples = data.example_gen.outputs["examples"]
    if settings.kind == "none":
        return None
    if settings.kind == "infra_validator":
        return infra_validator(settings, model, examples)
    return ServingCheck(
        settings,
        code_version(data.facts, ServingCheck),
        model=model,
        model_blessing=blessing,
        examples=examples,
        transformed_examples=data.transform.outputs["transformed_examples"],
    )


def _edge(
    model: BaseChannel,
    gates: list[Gate | MemberGate],
    config: PipelineConfig,
    data: Data,
    root: Path,
    lesson: dict[str, BaseChannel],
) -> list[Any]:
    """The bundle for the device, each variant judged against the model it was made from."""
    export = EdgeExport(
        EdgeExportSettings(edge=config.edge, synthetic=data.facts.synthetic),
        code_version(data.facts, EdgeExport),
        model=model,
        verdicts=union([gate.outputs["verdict"] for gate in gates]),
        examples=data.example_gen.outputs["examples"],
        transformed_examples=data.transform.outputs["transformed_examples"],
    )
    settings = EdgeEvaluatorSettings(edge=config.edge, untaught=config.distill.member)
    evaluator = EdgeEvaluator(
        settings,
        code_version(data.facts, EdgeEvaluator),
        candidate=export.outputs["candidate"],
        model=model,
        transformed_examples=data.transform.outputs["transformed_examples"],
        **lesson,
    )
    push = EdgePusherSettings(
        destination=str(edge_folder(root)),
        keep_versions=config.edge.keep_versions,
        published=data.facts.published_edge,
    )
    pusher = EdgePusher(
        push, code_version(data.facts, EdgePusher), bundle=evaluator.outputs["bundle"]
    )
    return [export, evaluator, pusher]
