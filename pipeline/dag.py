"""The pipeline: every node, and what it gets from which. Imports TFX.

Nothing is looked up here: what the wiring needs to know of the world comes as `Facts`.
"""

import dataclasses
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tfx import v1 as tfx
from tfx.types.channel import BaseChannel, union
from tfx.types.standard_artifacts import Model, ModelBlessing

from cxrflow.components.edge.export.component import EdgeExport
from cxrflow.components.edge.parity.component import EdgeEvaluator
from cxrflow.components.edge.push.component import EdgePusher
from cxrflow.components.ensemble.component import Ensemble
from cxrflow.components.ensemble.settings import ENSEMBLE
from cxrflow.components.evaluate.component import Gate, LatestOtherBlessedModelStrategy
from cxrflow.components.evaluate.gate import Limits
from cxrflow.components.evaluate.tfma_config import eval_config
from cxrflow.components.ingest.component import ImageExampleGen
from cxrflow.components.publish.component import Pusher, ServingCheck, serving_check
from cxrflow.components.train.component import RecipeCheck
from cxrflow.components.transform.component import Transform
from cxrflow.components.validate.component import ValidationGate
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
    compact: dict[str, Any]  # form of the transformed images


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
    gates: dict[str, Gate] = {}
    nodes = [check, *data.nodes, *trainers.values()]
    if config.models:
        for name, model in models.items():
            evaluator, gates[name] = _judged_member(name, model, config, data)
            nodes += [evaluator, gates[name]]
        ensemble = _ensemble(list(models.values()), list(gates.values()), config, data)
        nodes.append(ensemble)
        models[ENSEMBLE] = ensemble.outputs["model"]
    name = config.pushed_model
    *judges, gates[name] = _judged(name, models[name], config, data)
    nodes += [*judges, gates[name], *_pushed(models[name], gates[name], config, data, root)]
    if config.edge.enabled:
        # A member goes to the devices only where the model that is served is good too.
        needed = [gates[name] for name in {config.edge_model: None, name: None}]
        nodes += _edge(models[config.edge_model], needed, config, data, root)
    return assemble(config.name, nodes, config.beam, root)


def code_version(facts: Facts, node: Any) -> str:
    """The hash of all that the executor of a class of nodes needs."""
    return facts.sources.key(node.EXECUTOR_SPEC.executor_class.__module__)


def recipe_check(config: PipelineConfig, facts: Facts) -> RecipeCheck:
    """The node that refuses a recipe before anything is read."""
    return RecipeCheck(
        recipes=json.dumps({n: dataclasses.asdict(r) for n, r in config.members.items()}),
        classes=len(config.ingest.classes),
        weights=facts.weights,
        code_version=code_version(facts, RecipeCheck),
    )


def data_nodes(config: PipelineConfig, data_dir: Path, facts: Facts, after: Any = None) -> Data:
    """Ingest, validation and Transform; they start when node `after` is through."""
    compact = dataclasses.asdict(config.transform)
    example_gen = ImageExampleGen(
        data_dir=str(data_dir),
        settings=json.dumps(dataclasses.asdict(config.ingest), sort_keys=True),
        data_fingerprint=facts.data_version,
        code_version=code_version(facts, ImageExampleGen),
    )
    if after:
        example_gen.add_upstream_node(after)
    statistics_gen = tfx.components.StatisticsGen(examples=example_gen.outputs["records"])
    schema_gen = tfx.components.ImportSchemaGen(schema_file=str(facts.schema))
    example_validator = tfx.components.ExampleValidator(
        statistics=statistics_gen.outputs["statistics"], schema=schema_gen.outputs["schema"]
    )
    validation_gate = ValidationGate(
        statistics=statistics_gen.outputs["statistics"],
        schema=schema_gen.outputs["schema"],
        anomalies=example_validator.outputs["anomalies"],
        code_version=code_version(facts, ValidationGate),
        synthetic=facts.synthetic,
        **dataclasses.asdict(config.validate),
    )
    transform = Transform(
        examples=example_gen.outputs["examples"],
        records=example_gen.outputs["records"],
        schema=schema_gen.outputs["schema"],
        custom_config={
            "classes": list(config.ingest.classes),
            **compact,
            "code_version": code_version(facts, Transform),
        },
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
    return Data(nodes, example_gen, transform, facts, compact)


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
            "transform": data.compact,
            "calibrate": dataclasses.asdict(config.calibrate),
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


def _gate(name: str, model: BaseChannel, evaluator: Any, data: Data, **options: Any) -> Gate:
    return Gate(
        evaluation=evaluator.outputs["evaluation"],
        model=model,
        name=name,
        synthetic=data.facts.synthetic,
        code_version=code_version(data.facts, Gate),
        **options,
    )


def _judged_member(
    name: str, model: BaseChannel, config: PipelineConfig, data: Data
) -> tuple[Any, Gate]:
    """A member's scores on eval and test, and the verdict, which looks at eval alone."""
    evaluator = _evaluator(model, config, data).with_id(f"Evaluator.{name}")
    gate = _gate(
        name,
        model,
        evaluator,
        data,
        classes=config.ingest.classes,
        limits=config.evaluate.members,
        split="eval",
    )
    return evaluator, gate.with_id(f"Gate.{name}")


def _ensemble(
    models: list[BaseChannel], gates: list[Gate], config: PipelineConfig, data: Data
) -> Ensemble:
    return Ensemble(
        models=union(models),
        verdicts=union([gate.outputs["verdict"] for gate in gates]),
        examples=data.transform.outputs["transformed_examples"],
        settings=dataclasses.asdict(config.ensemble),
        calibrate=dataclasses.asdict(config.calibrate),
        classes=list(config.ingest.classes),
        compact=data.compact,
        synthetic=data.facts.synthetic,
        data_version=data.facts.data_version,
        code_version=code_version(data.facts, Ensemble),
    )


def _judged(name: str, model: BaseChannel, config: PipelineConfig, data: Data) -> list[Any]:
    """The one model that may be pushed, on the test split, against the last one that was."""
    last_blessed = tfx.dsl.Resolver(
        strategy_class=LatestOtherBlessedModelStrategy,
        candidate=model,
        model=tfx.dsl.Channel(type=Model),
        model_blessing=tfx.dsl.Channel(type=ModelBlessing),
    ).with_id("LastBlessedModel")
    baseline = last_blessed.outputs["model"]
    evaluator = _evaluator(model, config, data, baseline)
    limits = {f.name: getattr(config.evaluate, f.name) for f in dataclasses.fields(Limits)}
    gate = _gate(
        name,
        model,
        evaluator,
        data,
        classes=config.ingest.classes,
        limits=Limits(**limits),
        baseline_model=baseline,
    )
    return [last_blessed, evaluator, gate]


def _pushed(
    model: BaseChannel, gate: Gate, config: PipelineConfig, data: Data, root: Path
) -> list[Any]:
    """The blessed model tried in a server, and put where servers look."""
    blessing = gate.outputs["blessing"]
    check = serving_check(
        model=model,
        model_blessing=blessing,
        examples=data.example_gen.outputs["examples"],
        transformed_examples=data.transform.outputs["transformed_examples"],
        settings=dataclasses.asdict(config.serving_check),
        code_version=code_version(data.facts, ServingCheck),
    )
    pusher = Pusher(
        model=model,
        model_blessing=blessing,
        infra_blessing=check.outputs["blessing"] if check else None,
        push_destination=tfx.proto.PushDestination(
            filesystem=tfx.proto.PushDestination.Filesystem(
                base_directory=str(serving_folder(config, root))
            )
        ),
        custom_config={
            "code_version": code_version(data.facts, Pusher),
            "publish": dataclasses.asdict(config.publish),
            "published": data.facts.published,  # a folder that was emptied is filled again
        },
    )
    return [*([check] if check else []), pusher]


def _edge(
    model: BaseChannel, gates: list[Gate], config: PipelineConfig, data: Data, root: Path
) -> list[Any]:
    """The bundle for the device, each variant judged against the model it was made from."""
    settings = dataclasses.asdict(config.edge)
    export = EdgeExport(
        model=model,
        verdicts=union([gate.outputs["verdict"] for gate in gates]),
        examples=data.example_gen.outputs["examples"],
        transformed_examples=data.transform.outputs["transformed_examples"],
        settings=settings,
        synthetic=data.facts.synthetic,
        code_version=code_version(data.facts, EdgeExport),
    )
    evaluator = EdgeEvaluator(
        candidate=export.outputs["candidate"],
        model=model,
        transformed_examples=data.transform.outputs["transformed_examples"],
        settings=settings,
        code_version=code_version(data.facts, EdgeEvaluator),
    )
    pusher = EdgePusher(
        bundle=evaluator.outputs["bundle"],
        destination=str(edge_folder(root)),
        keep_versions=config.edge.keep_versions,
        published=data.facts.published_edge,
        code_version=code_version(data.facts, EdgePusher),
    )
    return [export, evaluator, pusher]


def _beam_args(beam: BeamConfig) -> list[str]:
    # DirectRunner would first try to download a Go binary, and wait where packets are dropped.
    args = ["--runner=FnApiRunner", f"--direct_num_workers={beam.workers}"]
    return args + (["--direct_running_mode=multi_processing"] if beam.workers > 1 else [])
