"""The pipeline: every node, and what it gets from which. Imports TFX."""

import dataclasses
import hashlib
import json
from pathlib import Path

from tfx import v1 as tfx
from tfx.types.standard_artifacts import Model, ModelBlessing

from components.evaluate.component import Gate, LatestOtherBlessedModelStrategy
from components.evaluate.gate import Limits
from components.evaluate.tfma_config import eval_config
from components.ingest.component import ImageExampleGen
from components.ingest.folder import fingerprint
from components.publish.component import Pusher
from components.publish.push import published
from components.transform.component import Transform
from components.validate.component import ValidationGate
from pipeline.code_version import ROOT, code_version
from pipeline.config import BeamConfig, PipelineConfig
from pipeline.data import is_synthetic

SCHEMA = ROOT / "schema" / "schema.pbtxt"


def create_pipeline(config: PipelineConfig, data_dir: Path, root: Path) -> tfx.dsl.Pipeline:
    """Wires the nodes of one model.

    Args:
        config: a run's settings.
        data_dir: the X-rays, absolute.
        root: where artifacts, metadata and the pushed model go, absolute.
    """
    classes = list(config.ingest.classes)
    synthetic = is_synthetic(data_dir)
    data_version = fingerprint(data_dir)
    compact = dataclasses.asdict(config.transform)

    example_gen = ImageExampleGen(
        data_dir=str(data_dir),
        settings=json.dumps(dataclasses.asdict(config.ingest), sort_keys=True),
        data_fingerprint=data_version,
        code_version=code_version("components/ingest", "schema"),
    )
    statistics_gen = tfx.components.StatisticsGen(examples=example_gen.outputs["records"])
    schema_gen = tfx.components.ImportSchemaGen(schema_file=str(_named_by_content(SCHEMA, root)))
    example_validator = tfx.components.ExampleValidator(
        statistics=statistics_gen.outputs["statistics"], schema=schema_gen.outputs["schema"]
    )
    validation_gate = ValidationGate(
        statistics=statistics_gen.outputs["statistics"],
        schema=schema_gen.outputs["schema"],
        anomalies=example_validator.outputs["anomalies"],
        code_version=code_version("components/validate", "schema"),
        synthetic=synthetic,
        **dataclasses.asdict(config.validate),
    )
    transform = Transform(
        examples=example_gen.outputs["examples"],
        records=example_gen.outputs["records"],
        schema=schema_gen.outputs["schema"],
        custom_config={
            "classes": classes,
            **compact,
            "code_version": code_version("components/transform", "schema"),
        },
    )
    transform.add_upstream_node(validation_gate)
    trainer = tfx.components.Trainer(
        run_fn="components.train.run.run_fn",
        examples=transform.outputs["transformed_examples"],
        transform_graph=transform.outputs["transform_graph"],
        train_args=tfx.proto.TrainArgs(splits=["train"]),
        eval_args=tfx.proto.EvalArgs(splits=["eval"]),
        custom_config={
            "train": dataclasses.asdict(config.train),
            "transform": compact,
            "classes": classes,
            "synthetic": synthetic,
            "data_version": data_version,
            "code_version": code_version("components/train", "components/transform", "schema"),
            "work_dir": str(root / "work"),
        },
    )
    last_blessed = tfx.dsl.Resolver(
        strategy_class=LatestOtherBlessedModelStrategy,
        candidate=trainer.outputs["model"],
        model=tfx.dsl.Channel(type=Model),
        model_blessing=tfx.dsl.Channel(type=ModelBlessing),
    ).with_id("LastBlessedModel")
    scores_code = code_version(
        *(f"components/evaluate/{name}.py" for name in ("extractors", "metrics", "scores")),
        "components/evaluate/tfma_config.py",
    )
    evaluator = tfx.components.Evaluator(
        examples=transform.outputs["transformed_examples"],
        model=trainer.outputs["model"],
        baseline_model=last_blessed.outputs["model"],
        example_splits=["test"],
        eval_config=eval_config(len(classes), config.evaluate.slices, scores_code),
        module_path="components.evaluate.extractors",
    )
    limits = {f.name: getattr(config.evaluate, f.name) for f in dataclasses.fields(Limits)}
    gate = Gate(
        evaluation=evaluator.outputs["evaluation"],
        model=trainer.outputs["model"],
        baseline_model=last_blessed.outputs["model"],
        classes=classes,
        limits=Limits(**limits),
        synthetic=synthetic,
        code_version=code_version("components/evaluate"),
    )
    serving = root / "serving" / config.name
    pusher = Pusher(
        model=trainer.outputs["model"],
        model_blessing=gate.outputs["blessing"],
        push_destination=tfx.proto.PushDestination(
            filesystem=tfx.proto.PushDestination.Filesystem(base_directory=str(serving))
        ),
        custom_config={
            "code_version": code_version("components/publish"),
            "published": published(serving),  # a folder that was emptied is filled again
        },
    )
    return tfx.dsl.Pipeline(
        pipeline_name=config.name,
        pipeline_root=str(root / "artifacts"),
        components=[
            example_gen,
            statistics_gen,
            schema_gen,
            example_validator,
            validation_gate,
            transform,
            trainer,
            last_blessed,
            evaluator,
            gate,
            pusher,
        ],
        enable_cache=True,
        metadata_connection_config=tfx.orchestration.metadata.sqlite_metadata_connection_config(
            str(root / "metadata.sqlite")
        ),
        beam_pipeline_args=_beam_args(config.beam),
    )


def _beam_args(beam: BeamConfig) -> list[str]:
    # DirectRunner would first try to download a Go binary, and wait where packets are dropped.
    args = ["--runner=FnApiRunner", f"--direct_num_workers={beam.workers}"]
    return args + (["--direct_running_mode=multi_processing"] if beam.workers > 1 else [])


def _named_by_content(schema: Path, root: Path) -> Path:
    """Copies the schema to a path that changes with it: ImportSchemaGen's cache knows only that."""
    content = schema.read_bytes()
    copy = root / "schema" / hashlib.sha256(content).hexdigest()[:16] / schema.name
    copy.parent.mkdir(parents=True, exist_ok=True)
    copy.write_bytes(content)
    return copy
