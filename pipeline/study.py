"""The 2019 study's experiments, repeated: one Tuner node each on the pipeline's own data."""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cxrflow.components.study.plan import check
from cxrflow.components.study.results import ExperimentResult, as_frame, read_results
from cxrflow.components.study.settings import EXPERIMENTS, Experiment
from cxrflow.components.study.tables import page, winner
from cxrflow.pipeline import facts
from cxrflow.pipeline.run import execute
from cxrflow.pipeline.settings import PipelineConfig
from cxrflow.schema.errors import CxrflowError
from cxrflow.schema.files import write_whole

TUNER_FN = "cxrflow.components.study.tuner.tuner_fn"  # what TFX's Tuner calls


@dataclass(frozen=True)
class StudyPage:
    """One experiment, written."""

    result: ExperimentResult
    path: Path  # Markdown; the CSV with every evaluation lies beside it
    winner: str  # settings for `cxrflow run`; empty if too many trials failed


def find_experiments(names: str) -> list[Experiment]:
    """Experiments from a comma-separated list. Raises CxrflowError for an unknown one."""
    found = [name.strip() for name in names.split(",") if name.strip()]
    unknown = [name for name in found if name not in EXPERIMENTS]
    if unknown or not found:
        raise CxrflowError(f"--experiments {names}: name some of {','.join(EXPERIMENTS)}")
    return [name for name in EXPERIMENTS if name in found]


def run_study(
    config: PipelineConfig, data_dir: Path | None, root: Path, experiments: Sequence[Experiment]
) -> list[StudyPage]:
    """Runs the experiments that aren't cached, and writes a page and a CSV each to `<root>/study`.

    What a run in the same root did with the data is taken from there.

    Raises:
        CxrflowError: bad input, a failed check, or an experiment of which no trial succeeded.
    """
    check(experiments, config.study, config.train, config.transform.image_size)

    def create(config: PipelineConfig, folder: Path, root: Path) -> Any:
        known = facts.gather(one_recipe(config), folder, root)
        return create_study(config, folder, root, known, experiments)

    run = execute(create, config, data_dir, root, "local")
    target = root / "study"
    target.mkdir(exist_ok=True)
    pages = []
    for experiment in experiments:
        result = read_results(Path(run.artifacts[_node(experiment)]["tuner_results"]))
        path = target / f"{experiment}.md"
        write_whole(path, page(result, config.study))
        write_whole(path.with_suffix(".csv"), as_frame(result).to_csv(index=False))
        pages.append(StudyPage(result, path, winner(result, config.study)))
    return pages


def one_recipe(config: PipelineConfig) -> PipelineConfig:
    """The settings without members and without what is done with a finished model."""
    return dataclasses.replace(
        config,
        models={},
        serving_check=dataclasses.replace(config.serving_check, kind="none"),
        edge=dataclasses.replace(config.edge, model="", enabled=False),
    )


def create_study(
    config: PipelineConfig,
    data_dir: Path,
    root: Path,
    known: facts.Facts,
    experiments: Sequence[Experiment],
) -> Any:
    """Wires data nodes and a Tuner each; the data nodes are those of a run.

    known: of `facts.gather` with `one_recipe(config)`.
    """
    from tfx.proto.trainer_pb2 import EvalArgs, TrainArgs

    from cxrflow.components.study.component import Tuner
    from cxrflow.pipeline import dag, data_nodes

    recipe_check = data_nodes.recipe_check(one_recipe(config), known)
    data = data_nodes.data_nodes(config, data_dir, known, after=recipe_check)
    executor = Tuner.EXECUTOR_SPEC.executor_class.__module__
    tuners = [
        Tuner(
            tuner_fn=TUNER_FN,
            examples=data.transform.outputs["transformed_examples"],
            transform_graph=data.transform.outputs["transform_graph"],
            train_args=TrainArgs(splits=["train"]),
            eval_args=EvalArgs(splits=["eval"]),
            custom_config={
                "experiment": experiment,
                "study": dataclasses.asdict(config.study),
                "train": dataclasses.asdict(config.train),
                "transform": dataclasses.asdict(config.transform),
                "classes": list(config.ingest.classes),
                "synthetic": known.synthetic,
                "weights": dict(known.weights),
                "code_version": known.sources.key(executor, TUNER_FN),
                "work_dir": str(root / "work" / _node(experiment)),
            },
        ).with_id(_node(experiment))
        for experiment in experiments
    ]
    return dag.assemble(config, [recipe_check, *data.nodes, *tuners], root, known)


def _node(experiment: Experiment) -> str:
    return f"Tuner.{experiment}"
