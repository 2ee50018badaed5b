"""The nodes from X-rays to transformed examples. Imports TFX."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tfx.components import ExampleValidator, StatisticsGen
from tfx.components.schema_gen.import_schema_gen.component import ImportSchemaGen

from cxrflow.components.evaluate.settings import SplitKind
from cxrflow.components.ingest.component import ImageExampleGen
from cxrflow.components.ingest.settings import IngestSettings
from cxrflow.components.node import Node
from cxrflow.components.train.component import RecipeCheck
from cxrflow.components.train.settings import RecipeCheckSettings
from cxrflow.components.transform.component import Transform
from cxrflow.components.transform.settings import TransformSettings
from cxrflow.components.validate.component import ValidationGate
from cxrflow.components.validate.settings import ValidationGateSettings
from cxrflow.pipeline.facts import Facts
from cxrflow.pipeline.settings import PipelineConfig
from cxrflow.schema.features import SLICE_PREFIX


@dataclass(frozen=True)
class Data:
    """The nodes from X-rays to transformed examples, and what later nodes say about the data."""

    nodes: list[Any]
    example_gen: ImageExampleGen
    transform: Transform
    facts: Facts


def code_version(facts: Facts, node: type[Node]) -> str:
    """The hash of all that the executor of a class of nodes needs."""
    return facts.sources.key(node.EXECUTOR.__module__)


def further_slices(config: PipelineConfig) -> tuple[str, ...]:
    """The features of the groups that a described source has beside ours."""
    return tuple(f"{SLICE_PREFIX}{name}" for name in (config.data.slices if config.data else ()))


def split_kind(config: PipelineConfig, facts: Facts) -> SplitKind:
    """How test is split off."""
    if config.data and config.data.has_own_test and config.ingest.split != "hash":
        return "the source's own split"
    return "official test list" if facts.official_split else "hash of patients"


def split_of(config: PipelineConfig, facts: Facts) -> str:
    """What decides who is in test: a model of another split may have learned from this one's."""
    kind = split_kind(config, facts)
    if kind == "hash of patients":
        return f"{kind}, {config.ingest.test_share:g} to test, salt {config.ingest.split_salt}"
    if config.data is None or kind == "official test list":
        return kind
    splits = config.data.splits
    values = [value for value, split in splits.values.items() if split == "test"]
    files = [table.file for table in config.data.tables if table.split == "test"]
    named = (
        f"{splits.column}: {', '.join(values)}"
        if splits.column
        else splits.lists.get("test") or ", ".join(files)
    )
    return f"{kind}, {named}"


def recipe_check(config: PipelineConfig, facts: Facts) -> RecipeCheck:
    """The node that refuses a recipe before anything is read."""
    return RecipeCheck(
        RecipeCheckSettings(
            recipes=config.members,
            floor=config.floor_recipe,
            classes=len(config.ingest.classes),
            exported=config.exported_members,
            weights={name: facts.weights[name] for name in config.members},
        ),
        code_version(facts, RecipeCheck),
    )


def data_nodes(config: PipelineConfig, data_dir: Path, facts: Facts, after: Any = None) -> Data:
    """Ingest, validation and Transform; they start when node `after` is through."""
    example_gen = ImageExampleGen(
        IngestSettings(
            data_dir=str(data_dir),
            data_version=facts.data_version,
            ingest=config.ingest,
            source=config.data,
        ),
        code_version(facts, ImageExampleGen),
    )
    if after:
        example_gen.add_upstream_node(after)
    statistics_gen = StatisticsGen(examples=example_gen.outputs["records"])
    schema_gen = ImportSchemaGen(schema_file=str(facts.schema))
    example_validator = ExampleValidator(
        statistics=statistics_gen.outputs["statistics"], schema=schema_gen.outputs["schema"]
    )
    validation_gate = ValidationGate(
        ValidationGateSettings(
            limits=config.validate,
            synthetic=facts.synthetic,
            classes=config.ingest.classes,
            cross_fit=tuple({recipe.cross_fit: None for recipe in config.members.values()}),
        ),
        code_version(facts, ValidationGate),
        statistics=statistics_gen.outputs["statistics"],
        schema=schema_gen.outputs["schema"],
        anomalies=example_validator.outputs["anomalies"],
        records=example_gen.outputs["records"],
    )
    transform = Transform(
        TransformSettings(
            classes=config.ingest.classes, compact=config.transform, slices=further_slices(config)
        ),
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
