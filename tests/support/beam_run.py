"""Every node that runs on Beam, in one small pipeline, and what comes out of it."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from cxrflow.pipeline.config import load, to_dict

REPO = Path(__file__).parents[2]
SMALL = [
    "ingest.max_bad_share=0.05",
    "ingest.eval_share=0.3",
    "ingest.test_share=0.3",
    "transform.image_size=64",
    "train.image_size=64",
    "validate.max_eval_distance=1",
    "validate.max_test_distance=1",
]


@dataclass(frozen=True)
class Made:
    """What the nodes put out, in a form that doesn't depend on the order of a map."""

    raw: dict[str, list[bytes]]  # records by file
    light: dict[str, list[bytes]]
    statistics: dict[str, Any]  # of features, by split and name
    transformed: dict[str, list[Any]]  # parsed, by file
    evaluations: dict[str, float]  # by node, model, slice, class and score


def run(root: Path, data_dir: Path, args: Sequence[str] = ()) -> Made:
    """Runs ImageExampleGen, StatisticsGen, Transform and two Evaluators with options of Beam."""
    from cxrflow.pipeline import dag, engines, judges
    from cxrflow.pipeline.data_nodes import data_nodes
    from cxrflow.pipeline.run import inside
    from tests.pipeline.test_dag import FACTS
    from tests.support.known_model import KnownModel, KnownSettings
    from tests.support.tiny_pipeline import ORIGIN

    config = load("demo", [*SMALL, f"beam.args={[*args]}"])
    facts = replace(FACTS, schema=REPO / "schema" / "schema.pbtxt")
    root.mkdir()
    with inside(root):
        data = data_nodes(config, data_dir, facts)
        classes = len(config.ingest.classes)
        models = [
            KnownModel(KnownSettings(classes=classes, slope=slope), "1").with_id(name)
            for name, slope in (("New", 1.0), ("Last", 0.5))
        ]
        new, last = (model.outputs["model"] for model in models)
        evaluators = [
            judges.evaluator(new, config, data).with_id("Evaluator.member"),
            judges.evaluator(new, config, data, last).with_id("Evaluator"),
        ]
        pipeline = dag.assemble(config, [*data.nodes, *models, *evaluators], Path(), facts)
        ir = engines.begin(pipeline, root, replace(ORIGIN, config=to_dict(config)))
        engines.run(ir, "local")
        return _read(engines.outputs(ir).artifacts, config.ingest.classes)


def _read(found: Any, classes: Sequence[str]) -> Made:
    import tensorflow as tf
    import tensorflow_data_validation as tfdv

    from cxrflow.components.evaluate.results import load_evaluation

    def records(uri: str) -> dict[str, list[bytes]]:
        return {
            str(file.relative_to(uri)): [one.numpy() for one in tf.data.TFRecordDataset(str(file))]
            for file in sorted(Path(uri).glob("Split-*/*"))
        }

    ingested, statistics = found["ImageExampleGen"], found["StatisticsGen"]["statistics"]
    transformed = records(found["Transform"]["transformed_examples"])
    return Made(
        raw=records(ingested["examples"]),
        light=records(ingested["records"]),
        statistics={
            f"{file.parent.name} {'.'.join(feature.path.step)}": feature
            for file in sorted(Path(statistics).glob("Split-*/*"))
            for feature in tfdv.load_stats_binary(str(file)).datasets[0].features
        },
        transformed={
            name: [tf.train.Example.FromString(one) for one in several]
            for name, several in transformed.items()
        },
        evaluations={
            f"{node} {model} {part} {result.name} {score}": value
            for node in ("Evaluator.member", "Evaluator")
            for model, parts in load_evaluation(Path(found[node]["evaluation"]), classes).items()
            for part, results in parts.items()
            for result in results
            for score, value in asdict(result).items()
            if score != "name"
        },
    )
