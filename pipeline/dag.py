"""The pipeline: every node, and what it gets from which. Imports TFX.

Nothing is looked up here: what the wiring needs to know of the world comes as `Facts`.
"""

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tfx import v1 as tfx
from tfx.types.channel import BaseChannel, union
from tfx.types.standard_artifacts import Model, ModelBlessing

from cxrflow.components.card.component import ModelCard
from cxrflow.components.card.settings import CardSettings
from cxrflow.components.edge.export.component import EdgeExport
from cxrflow.components.edge.export.settings import EdgeExportSettings
from cxrflow.components.edge.parity.component import EdgeEvaluator
from cxrflow.components.edge.push.component import EdgePusher
from cxrflow.components.edge.push.settings import EdgePusherSettings
from cxrflow.components.ensemble.component import Ensemble
from cxrflow.components.ensemble.settings import ENSEMBLE, EnsembleSettings
from cxrflow.components.evaluate.component import Gate, LatestOtherBlessedModelStrategy
from cxrflow.components.evaluate.limits import FinalLimits
from cxrflow.components.evaluate.member.component import MemberGate
from cxrflow.components.evaluate.settings import GateSettings, MemberGateSettings
from cxrflow.components.evaluate.tfma_config import eval_config
from cxrflow.components.floor.component import Baselines
from cxrflow.components.floor.settings import BaselinesSettings
from cxrflow.components.ingest.component import ImageExampleGen
from cxrflow.components.ingest.settings import IngestSettings
from cxrflow.components.localise.component import Localiser
from cxrflow.components.localise.settings import LocaliserSettings
from cxrflow.components.node import Node
from cxrflow.components.publish.component import Pusher, ServingCheck, infra_validator
from cxrflow.components.publish.settings import PusherSettings
from cxrflow.components.score.component import Scorer
from cxrflow.components.score.settings import ScorerSettings
from cxrflow.components.train.component import RecipeCheck
from cxrflow.components.train.settings import RecipeCheckSettings
from cxrflow.components.transform.component import Transform
from cxrflow.components.transform.settings import TransformSettings
from cxrflow.components.validate.component import ValidationGate
from cxrflow.components.validate.settings import ValidationGateSettings
from cxrflow.pipeline.facts import Facts, edge_folder, serving_folder
from cxrflow.pipeline.settings import BeamConfig, PipelineConfig

# Modules of ours that TFX's own nodes call.
RUN_FN = "cxrflow.components.train.run.run_fn"
EXTRACTORS = "cxrflow.components.evaluate.extractors"
TFMA_CONFIG = "cxrflow.components.evaluate.tfma_config"  # names the metrics' module


@dataclass(frozen=True)
class Data:
    """The nodes from X-rays to transformed examples, and what later nodes say about the data."""

    nodes: list[Any]
    example_gen: ImageExampleGen
    transform: Transform
    facts: Facts


def create_pipeline(
    config: PipelineConfig, data_dir: Path, root: Path, facts: Facts
) -> tfx.dsl.Pipeline:
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
    baselines = _baselines(config, data)
    nodes = [check, *data.nodes, baselines, *trainers.values()]
    reports = {
        "networks": check.outputs["report"],
        "model_runs": union([trainer.outputs["model_run"] for trainer in trainers.values()]),
    }
    if config.models:
        for name, model in models.items():
            evaluator, gates[name] = _judged_member(name, model, config, data)
            nodes += [evaluator, gates[name]]
        members = [gate for gate in gates.values() if isinstance(gate, MemberGate)]
        ensemble = _ensemble(list(models.values()), members, config, data)
        reports["ensemble"] = ensemble.outputs["report"]
        nodes.append(ensemble)
        models[ENSEMBLE] = ensemble.outputs["model"]
        scores = ensemble.outputs["scores"]
    else:
        scorer = _scorer(models[config.pushed_model], data, config)
        nodes.append(scorer)
        scores = scorer.outputs["scores"]
    name = config.pushed_model
    *judges, gate = _judged(name, models[name], scores, baselines, config, data)
    gates[name] = gate
    if facts.boxes:
        localiser = _localiser(models[name], config, data)
        reports["localisation"] = localiser.outputs["report"]
        judges.append(localiser)
    card = _card(models[name], gate, reports, config, data)
    nodes += [*judges, gate, card, *_pushed(models[name], gate, card, config, data, root)]
    if config.edge.enabled:
        # A member goes to the devices only where the model that is served is good too.
        needed = [gates[name] for name in {config.edge_model: None, name: None}]
        nodes += _edge(models[config.edge_model], needed, config, data, root)
    return assemble(config.name, nodes, config.beam, root)


def code_version(facts: Facts, node: type[Node]) -> str:
    """The hash of all that the executor of a class of nodes needs."""
    return facts.sources.key(node.EXECUTOR.__module__)


def recipe_check(config: PipelineConfig, facts: Facts) -> RecipeCheck:
    """The node that refuses a recipe before anything is read."""
    return RecipeCheck(
        RecipeCheckSettings(
            recipes=config.members, classes=len(config.ingest.classes), weights=facts.weights
        ),
        code_version(facts, RecipeCheck),
    )


def data_nodes(config: PipelineConfig, data_dir: Path, facts: Facts, after: Any = None) -> Data:
    """Ingest, validation and Transform; they start when node `after` is through."""
    example_gen = ImageExampleGen(
        IngestSettings(
            data_dir=str(data_dir), data_version=facts.data_version, ingest=config.ingest
        ),
        code_version(facts, ImageExampleGen),
    )
    if after:
        example_gen.add_upstream_node(after)
    statistics_gen = tfx.components.StatisticsGen(examples=example_gen.outputs["records"])
    schema_gen = tfx.components.ImportSchemaGen(schema_file=str(facts.schema))
    example_validator = tfx.components.ExampleValidator(
        statistics=statistics_gen.outputs["statistics"], schema=schema_gen.outputs["schema"]
    )
    validation_gate = ValidationGate(
        ValidationGateSettings(limits=config.validate, synthetic=facts.synthetic),
        code_version(facts, ValidationGate),
        statistics=statistics_gen.outputs["statistics"],
        schema=schema_gen.outputs["schema"],
        anomalies=example_validator.outputs["anomalies"],
    )
    transform = Transform(
        TransformSettings(classes=config.ingest.classes, compact=config.transform),
        code_version(facts, Transform),
        examples=example_gen.outputs["examples"],
        records=example_gen.outputs["records"],
        schema=schema_gen.outputs["schema"],
    )
    transform.add_upstream_node(validation_gate)
    nodes = [
        example_gen,
        statistics_gen,
        schema_gen,
        example_validator,
        validation_gate,
        transform,
    ]
    return Data(nodes, example_gen, transform, facts)


def assemble(name: str, nodes: list[Any], beam: BeamConfig, root: Path) -> tfx.dsl.Pipeline:
    """A pipeline of these nodes whose artifacts and metadata lie below `root`."""
    return tfx.dsl.Pipeline(
        pipeline_name=name,
        pipeline_root=str(root / "artifacts"),
        components=nodes,
        enable_cache=True,
        metadata_connection_config=tfx.orchestration.metadata.sqlite_metadata_connection_config(
            f"{root}/metadata.sqlite"  # TFX makes the folder that stands before the name
        ),
        beam_pipeline_args=_beam_args(beam),
    )


def _trainer(name: str, recipe: Any, config: PipelineConfig, data: Data, root: Path) -> Any:
    return tfx.components.Trainer(
        run_fn=RUN_FN,
        examples=data.transform.outputs["transformed_examples"],
        transform_graph=data.transform.outputs["transform_graph"],
        train_args=tfx.proto.TrainArgs(splits=["train"]),
        eval_args=tfx.proto.EvalArgs(splits=["eval"]),
        custom_config={
            "name": name,
            "train": dataclasses.asdict(recipe),
            "transform": dataclasses.asdict(config.transform),
            "calibrate": dataclasses.asdict(config.calibrate),
            "out_of_distribution": dataclasses.asdict(config.out_of_distribution),
            "classes": list(config.ingest.classes),
            "synthetic": data.facts.synthetic,
            "data_version": data.facts.data_version,
            "code_version": data.facts.sources.key(RUN_FN),
            "work_dir": str(root / "work" / name),
        },
    ).with_id(f"Trainer.{name}")


def _evaluator(
    model: BaseChannel, config: PipelineConfig, data: Data, baseline: BaseChannel | None = None
) -> Any:
    code = data.facts.sources.key(EXTRACTORS, TFMA_CONFIG)
    return tfx.components.Evaluator(
        examples=data.transform.outputs["transformed_examples"],
        model=model,
        baseline_model=baseline,
        example_splits=["eval", "test"],
        eval_config=eval_config(len(config.ingest.classes), config.evaluate.slices, code),
        module_path=EXTRACTORS,
    )


def _judged_member(
    name: str, model: BaseChannel, config: PipelineConfig, data: Data
) -> tuple[Any, MemberGate]:
    """A member's scores on eval and test, and the verdict, which looks at eval alone."""
    evaluator = _evaluator(model, config, data).with_id(f"Evaluator.{name}")
    gate = MemberGate(
        MemberGateSettings(
            classes=config.ingest.classes,
            limits=config.evaluate.members,
            name=name,
            synthetic=data.facts.synthetic,
        ),
        code_version(data.facts, MemberGate),
        evaluation=evaluator.outputs["evaluation"],
        model=model,
    )
    return evaluator, gate.with_id(f"Gate.{name}")


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
    )
    return Ensemble(
        settings,
        code_version(data.facts, Ensemble),
        models=union(models),
        verdicts=union([gate.outputs["verdict"] for gate in gates]),
        examples=data.transform.outputs["transformed_examples"],
    )


def _judged(
    name: str,
    model: BaseChannel,
    scores: BaseChannel,
    baselines: Baselines,
    config: PipelineConfig,
    data: Data,
) -> list[Any]:
    """The one model that may be pushed, against the floor and the last one that was."""
    last_blessed = tfx.dsl.Resolver(
        strategy_class=LatestOtherBlessedModelStrategy,
        candidate=model,
        model=tfx.dsl.Channel(type=Model),
        model_blessing=tfx.dsl.Channel(type=ModelBlessing),
    ).with_id("LastBlessedModel")
    last = last_blessed.outputs["model"]
    evaluator = _evaluator(model, config, data, last)
    last_scorer = _scorer(last, data, config).with_id("Scorer.last_blessed")
    limits = {f.name: getattr(config.evaluate, f.name) for f in dataclasses.fields(FinalLimits)}
    gate = Gate(
        GateSettings(
            classes=config.ingest.classes,
            limits=FinalLimits(**limits),
            name=name,
            split_kind="official test list" if data.facts.official_split else "hash of patients",
            synthetic=data.facts.synthetic,
        ),
        code_version(data.facts, Gate),
        evaluation=evaluator.outputs["evaluation"],
        model=model,
        scores=scores,
        baselines=baselines.outputs["scores"],
        baseline_model=last,
        last_scores=last_scorer.outputs["scores"],
    )
    return [last_blessed, evaluator, last_scorer, gate]


def _scorer(model: BaseChannel, data: Data, config: PipelineConfig) -> Scorer:
    """What a model that no ensemble has asked says about eval and test."""
    settings = ScorerSettings(classes=config.ingest.classes, synthetic=data.facts.synthetic)
    return Scorer(
        settings,
        code_version(data.facts, Scorer),
        model=model,
        examples=data.transform.outputs["transformed_examples"],
    )


def _baselines(config: PipelineConfig, data: Data) -> Baselines:
    """The simplest models, on what the first member's backbone sees."""
    first = next(iter(config.members.values()))
    settings = BaselinesSettings(
        floor=config.floor,
        backbone=first.backbone,
        alpha=first.alpha,
        color=first.color,
        weights=first.weights,
        weights_dir=first.weights_dir,
        image_size=config.floor.image_size or first.image_size,
        compact=config.transform,
        classes=config.ingest.classes,
        synthetic=data.facts.synthetic,
    )
    return Baselines(
        settings,
        code_version(data.facts, Baselines),
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
    evaluator = EdgeEvaluator(
        config.edge,
        code_version(data.facts, EdgeEvaluator),
        candidate=export.outputs["candidate"],
        model=model,
        transformed_examples=data.transform.outputs["transformed_examples"],
    )
    settings = EdgePusherSettings(
        destination=str(edge_folder(root)),
        keep_versions=config.edge.keep_versions,
        published=data.facts.published_edge,
    )
    pusher = EdgePusher(
        settings, code_version(data.facts, EdgePusher), bundle=evaluator.outputs["bundle"]
    )
    return [export, evaluator, pusher]


def _beam_args(beam: BeamConfig) -> list[str]:
    # DirectRunner would first try to download a Go binary, and wait where packets are dropped.
    args = ["--runner=FnApiRunner", f"--direct_num_workers={beam.workers}"]
    return args + (["--direct_running_mode=multi_processing"] if beam.workers > 1 else [])
