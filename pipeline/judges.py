"""The nodes that score and judge models. Imports TFX."""

import dataclasses
from typing import Any, Literal

from tfx.dsl.components.common.resolver import Resolver
from tfx.types.channel import BaseChannel, Channel
from tfx.types.standard_artifacts import Model, ModelBlessing

from cxrflow.components.evaluate.component import Gate, LatestOtherBlessedModelStrategy
from cxrflow.components.evaluate.limits import FinalLimits
from cxrflow.components.evaluate.member.component import MemberGate
from cxrflow.components.evaluate.settings import GateSettings, MemberGateSettings
from cxrflow.components.evaluate.tfma_config import eval_config
from cxrflow.components.evaluate.together.component import Evaluator
from cxrflow.components.floor.component import Baselines
from cxrflow.components.floor.settings import BaselinesSettings
from cxrflow.components.score.component import Scorer
from cxrflow.components.score.settings import ScorerSettings
from cxrflow.pipeline.data_nodes import Data, code_version, further_slices, split_kind
from cxrflow.pipeline.settings import PipelineConfig

# Modules of ours that TFX's own nodes call.
EXTRACTORS = "cxrflow.components.evaluate.extractors"
TFMA_CONFIG = "cxrflow.components.evaluate.tfma_config"  # names the metrics' module


def evaluator(
    model: BaseChannel, config: PipelineConfig, data: Data, baseline: BaseChannel | None = None
) -> Any:
    """TFX's Evaluator of a model, and of the one to compare with."""
    code = data.facts.sources.key(EXTRACTORS, TFMA_CONFIG, Evaluator.EXECUTOR_SPEC.class_path)
    return Evaluator(
        examples=data.transform.outputs["transformed_examples"],
        model=model,
        baseline_model=baseline,
        example_splits=["eval", "test"],
        eval_config=eval_config(
            len(config.ingest.classes), (*config.evaluate.slices, *further_slices(config)), code
        ),
        module_path=EXTRACTORS,
    )


def judged_member(
    name: str, model: BaseChannel, config: PipelineConfig, data: Data
) -> tuple[Any, MemberGate]:
    """A member's scores on eval and test, and the verdict, which looks at eval alone."""
    evaluated = evaluator(model, config, data).with_id(f"Evaluator.{name}")
    gate = MemberGate(
        MemberGateSettings(
            classes=config.ingest.classes,
            limits=config.evaluate.members,
            name=name,
            synthetic=data.facts.synthetic,
        ),
        code_version(data.facts, MemberGate),
        evaluation=evaluated.outputs["evaluation"],
        model=model,
    )
    return evaluated, gate.with_id(f"Gate.{name}")


def judged(
    name: str,
    model: BaseChannel,
    scores: BaseChannel,
    floor: Baselines,
    config: PipelineConfig,
    data: Data,
) -> list[Any]:
    """The one model that may be pushed, against the floor and the last one that was."""
    last_blessed = Resolver(
        strategy_class=LatestOtherBlessedModelStrategy,
        candidate=model,
        model=Channel(type=Model),
        model_blessing=Channel(type=ModelBlessing),
        passed_over=Channel(type=Model),
    ).with_id("LastBlessedModel")
    last = last_blessed.outputs["model"]
    evaluated = evaluator(model, config, data, last)
    # It may have learned from eval, and knows no image that came since.
    last_scorer = scorer(last, data, config, ("test",)).with_id("Scorer.last_blessed")
    limits = {f.name: getattr(config.evaluate, f.name) for f in dataclasses.fields(FinalLimits)}
    gate = Gate(
        GateSettings(
            classes=config.ingest.classes,
            limits=FinalLimits(**limits),
            name=name,
            slices=tuple(config.data.slices) if config.data else (),
            split_kind=split_kind(config, data.facts),
            synthetic=data.facts.synthetic,
        ),
        code_version(data.facts, Gate),
        evaluation=evaluated.outputs["evaluation"],
        model=model,
        scores=scores,
        baselines=floor.outputs["scores"],
        baseline_model=last,
        last_scores=last_scorer.outputs["scores"],
        passed_over=last_blessed.outputs["passed_over"],
    )
    return [last_blessed, evaluated, last_scorer, gate]


def scorer(
    model: BaseChannel,
    data: Data,
    config: PipelineConfig,
    splits: tuple[Literal["eval", "test"], ...] = ("eval", "test"),
) -> Scorer:
    """What a model that no ensemble has asked says about these splits."""
    settings = ScorerSettings(
        classes=config.ingest.classes,
        synthetic=data.facts.synthetic,
        slices=further_slices(config),
        splits=splits,
    )
    return Scorer(
        settings,
        code_version(data.facts, Scorer),
        model=model,
        examples=data.transform.outputs["transformed_examples"],
    )


def baselines(config: PipelineConfig, data: Data) -> Baselines:
    """The simplest models, on what the first member's head sees."""
    settings = BaselinesSettings(
        floor=config.floor,
        recipe=config.floor_recipe,
        weights=data.facts.weights[next(iter(config.members))],
        compact=config.transform,
        classes=config.ingest.classes,
        synthetic=data.facts.synthetic,
    )
    return Baselines(
        settings,
        code_version(data.facts, Baselines),
        examples=data.transform.outputs["transformed_examples"],
    )
