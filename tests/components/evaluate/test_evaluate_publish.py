"""TFX's Evaluator, Resolver and our Gate and Pusher, run by TFX on a tiny model.

The model's logits are the bytes of the example's image, so that every figure is known.
"""

import json
import logging
from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import average_precision_score, roc_auc_score

from cxrflow.components.evaluate.limits import FinalLimits
from cxrflow.components.evaluate.results import load_evaluation
from cxrflow.components.evaluate.verdict import read_verdict
from cxrflow.components.publish.push import published
from cxrflow.schema.store.manifest import verify
from cxrflow.schema.store.versions import list_versions

pytestmark = pytest.mark.tf

CLASSES = ("Edema", "Effusion", "Mass", "Hernia")  # Hernia has no case
SLICES = ("patient/sex", "view", "age_band")
N = 300


def make_data():
    rng = np.random.default_rng(0)
    prevalence = np.array([0.3, 0.15, 0.25, 0.0])
    labels = (rng.random((N, len(CLASSES))) < prevalence).astype(np.float32)
    logits = rng.normal(size=labels.shape) + labels * 1.5
    logits[:, 1] -= 9  # probabilities near .0001, where TFMA's own AUC is off
    return labels, logits.astype(np.float32), rng.choice(["M", "F"], N), rng.choice(["PA", "AP"], N)


def write_examples(folder: Path) -> None:
    import tensorflow as tf

    def feature(text: bytes) -> tf.train.Feature:
        return tf.train.Feature(bytes_list=tf.train.BytesList(value=[text]))

    split = folder.name.removeprefix("Split-")
    folder.mkdir(parents=True)
    labels, logits, sexes, views = make_data()
    with tf.io.TFRecordWriter(str(folder / "transformed_examples-00000-of-00001")) as writer:
        for i in range(N):
            features = {
                "image": feature(logits[i].tobytes()),
                "labels": tf.train.Feature(float_list=tf.train.FloatList(value=labels[i])),
                "patient/sex": feature(sexes[i].encode()),
                "view": feature(views[i].encode()),
                "split": feature(split.encode()),
                "image/id": feature(f"{i}.png".encode()),
                "patient/id": feature(str(i).encode()),
                "patient/age": tf.train.Feature(int64_list=tf.train.Int64List(value=[50])),
                "age_band": feature(b"40-59" if i % 2 else b"80+"),
            }
            example = tf.train.Example(features=tf.train.Features(feature=features))
            writer.write(example.SerializeToString())


def write_model(folder: Path, factors: list[float], classes=CLASSES, **said) -> None:
    import tensorflow as tf

    class Tiny(tf.Module):
        @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="examples")])
        def predict(self, examples):
            spec = {"image": tf.io.FixedLenFeature([], tf.string)}
            raw = tf.io.parse_example(examples, spec)["image"]
            logits = tf.reshape(tf.io.decode_raw(raw, tf.float32), [-1, len(CLASSES)]) * factors
            return {"logits": logits - 1, "probabilities": tf.sigmoid(logits)}

    model = Tiny()
    saved = folder / "Format-Serving"
    tf.saved_model.save(model, str(saved), signatures={"transformed_examples": model.predict})
    (saved / "assets.extra").mkdir()
    (saved / "assets.extra" / "model.json").write_text(
        json.dumps({"name": "tiny", "classes": classes, **said})
    )


def run(root: Path, model: str) -> None:
    from tfx.dsl.components.common.importer import Importer
    from tfx.dsl.components.common.resolver import Resolver
    from tfx.orchestration.local.local_dag_runner import LocalDagRunner
    from tfx.orchestration.metadata import sqlite_metadata_connection_config
    from tfx.orchestration.pipeline import Pipeline
    from tfx.types import standard_artifacts as artifacts
    from tfx.types.channel import Channel

    from cxrflow.components import artifacts as own
    from cxrflow.components.evaluate.component import Gate, LatestOtherBlessedModelStrategy
    from cxrflow.components.evaluate.settings import GateSettings
    from cxrflow.components.evaluate.tfma_config import eval_config
    from cxrflow.components.evaluate.together.component import Evaluator
    from cxrflow.components.publish.component import Pusher
    from cxrflow.components.publish.settings import PublishConfig, PusherSettings
    from cxrflow.components.score.component import Scorer
    from cxrflow.components.score.settings import ScorerSettings

    examples = Importer(
        source_uri=str(root / "examples"),
        artifact_type=artifacts.Examples,
        properties={"split_names": '["train", "eval", "test"]'},
    ).with_id("Transform")
    trainer = Importer(source_uri=str(root / model), artifact_type=artifacts.Model).with_id(
        "Trainer"
    )
    candidate = trainer.outputs["result"]
    resolver = Resolver(
        strategy_class=LatestOtherBlessedModelStrategy,
        model=Channel(type=artifacts.Model),
        model_blessing=Channel(type=artifacts.ModelBlessing),
        candidate=candidate,
        passed_over=Channel(type=artifacts.Model),
    ).with_id("LatestBlessedModel")
    evaluator = Evaluator(
        examples=examples.outputs["result"],
        model=candidate,
        baseline_model=resolver.outputs["model"],
        example_splits=["test"],
        eval_config=eval_config(len(CLASSES), SLICES, code_version="1"),
        module_path="cxrflow.components.evaluate.extractors",
    )
    nothing = Importer(source_uri=str(root / "nothing"), artifact_type=own.Scores).with_id(
        "Baselines"
    )
    scorers = {
        name: Scorer(
            ScorerSettings(classes=CLASSES, synthetic=True),
            "1",
            model=scored,
            examples=examples.outputs["result"],
        ).with_id(name)
        for name, scored in (("Scorer", candidate), ("Scorer.last", resolver.outputs["model"]))
    }
    limits = FinalLimits(min_auc=0.6, max_ece=0.5, metrics=("auc", "ece"), must_beat=(), draws=100)
    gate = Gate(
        GateSettings(classes=tuple(CLASSES), limits=limits, name="tiny", synthetic=True),
        "1",
        evaluation=evaluator.outputs["evaluation"],
        model=candidate,
        scores=scorers["Scorer"].outputs["scores"],
        baselines=nothing.outputs["result"],
        baseline_model=resolver.outputs["model"],
        last_scores=scorers["Scorer.last"].outputs["scores"],
        passed_over=resolver.outputs["passed_over"],
    )
    serving = root / "serving" / "cxrflow"
    pusher = Pusher(
        PusherSettings(
            destination=str(serving), publish=PublishConfig(), published=published(serving)
        ),
        "1",
        model=candidate,
        model_blessing=gate.outputs["blessing"],
    )
    LocalDagRunner().run(
        Pipeline(
            pipeline_name="test",
            pipeline_root=str(root / "root"),
            components=[
                examples,
                trainer,
                resolver,
                evaluator,
                nothing,
                *scorers.values(),
                gate,
                pusher,
            ],
            enable_cache=True,
            metadata_connection_config=sqlite_metadata_connection_config(
                str(root / "metadata.sqlite")
            ),
            beam_pipeline_args=["--runner=FnApiRunner"],
        )
    )


def with_data(root: Path) -> Path:
    """The folder, with examples and no baselines."""
    for split in ("train", "eval", "test"):
        write_examples(root / "examples" / f"Split-{split}")
    (root / "nothing").mkdir()
    return root


class Runs:
    """What lies in the root folder, in the order in which it came there."""

    def __init__(self, root: Path, progress: list[int]):
        self.root = root
        self.progress = progress  # of the first run

    def folders(self, node: str, output: str) -> list[Path]:
        return sorted(
            (self.root / "root" / node / output).glob("[0-9]*"), key=lambda p: int(p.name)
        )

    def artifacts(self, type_name: str) -> list:
        import ml_metadata as mlmd
        from ml_metadata.proto import metadata_store_pb2
        from tfx.types import artifact_utils

        config = metadata_store_pb2.ConnectionConfig()
        config.sqlite.filename_uri = str(self.root / "metadata.sqlite")
        store = mlmd.MetadataStore(config)
        artifact_type = store.get_artifact_type(type_name)
        return [
            artifact_utils.deserialize_artifact(artifact_type, a)
            for a in store.get_artifacts_by_type(type_name)
        ]


@pytest.fixture(scope="module")
def runs(tmp_path_factory) -> Runs:
    """A good model, the same again, and a bad one."""
    root = with_data(tmp_path_factory.mktemp("runs"))
    write_model(root / "good", [1.0, 1.0, 1.0, 1.0])
    write_model(root / "bad", [np.nan, 1.0, -1.0, 0.0])
    counts = []
    handler = logging.Handler()
    handler.emit = lambda record: counts.append(record.done)
    logging.getLogger("cxrflow.progress").addHandler(handler)
    run(root, "good")
    logging.getLogger("cxrflow.progress").removeHandler(handler)
    run(root, "good")
    run(root, "bad")
    return Runs(root, counts)


def test_scores_equal_scikit_learns(runs):
    labels, logits, sexes, views = make_data()
    probabilities = 1 / (1 + np.exp(-logits.astype(np.float64)))
    first, _ = runs.folders("Evaluator", "evaluation")
    candidate = load_evaluation(first, CLASSES)["candidate"]
    rows = {
        "split=test": np.ones(N, bool),
        "split=test,patient/sex=F": sexes == "F",
        "split=test,patient/sex=M": sexes == "M",
        "split=test,view=AP": views == "AP",
        "split=test,view=PA": views == "PA",
        "split=test,age_band=40-59": np.arange(N) % 2 == 1,
        "split=test,age_band=80+": np.arange(N) % 2 == 0,
    }
    assert candidate.keys() == rows.keys()
    for name, row in rows.items():
        for i, found in enumerate(candidate[name]):
            y, p = labels[row, i], probabilities[row, i]
            assert (found.name, found.positives) == (CLASSES[i], y.sum())
            assert found.negatives == len(y) - y.sum()
            assert found.mean_prediction == pytest.approx(p.mean(), rel=1e-4)
            assert found.brier_score == pytest.approx(np.mean((p - y) ** 2), rel=1e-4)
            q = p / (p + (1 - p) * np.e)  # the logit less 1
            assert found.brier_score_uncalibrated == pytest.approx(np.mean((q - y) ** 2), rel=1e-4)
            if y.any():
                assert found.auc == pytest.approx(roc_auc_score(y, p), abs=0.002)
                assert found.auc_precision_recall == pytest.approx(
                    average_precision_score(y, p), abs=0.002
                )
                assert found.calibration == pytest.approx(p.mean() / y.mean(), rel=1e-4)
            else:
                assert np.isnan(found.auc)


def test_good_model_is_blessed_and_pushed_once(runs):
    first, _ = runs.folders("Gate", "verdict")
    verdict = read_verdict(first / "verdict.json")
    assert verdict.blessed
    assert verdict.synthetic
    assert verdict.baseline == ""
    assert (verdict.name, verdict.split) == ("tiny", "test")
    assert [c.status for c in verdict.classes] == ["passed", "passed", "passed", "not judged"]

    serving = runs.root / "serving" / "cxrflow"
    (version,) = list_versions(serving)
    assert verify(serving / str(version)) == []
    *pushes, not_pushed = runs.artifacts("PushedModel")
    assert len(pushes) == 2  # the second run's found its model published
    for pushed in pushes:
        assert pushed.get_int_custom_property("pushed") == 1
        assert pushed.get_string_custom_property("pushed_version") == str(version)
        destination = pushed.get_string_custom_property("pushed_destination")
        assert destination == str(serving / str(version))
        assert (Path(pushed.uri) / "saved_model.pb").is_file()
    assert not_pushed.get_int_custom_property("pushed") == 0


def test_evaluator_and_scorer_report_progress(runs):
    assert runs.progress
    assert max(runs.progress) <= 2 * N  # of the Scorer, which looks at two splits


def test_second_run_uses_the_cache(runs):
    # Two executions for three runs: the second resolved no model, as the first, and ran nothing.
    for node, output in (("Evaluator", "evaluation"), ("Gate", "verdict")):
        assert len(runs.folders(node, output)) == 2


def test_bad_model_is_compared_and_refused(runs):
    _, second = runs.folders("Gate", "verdict")
    verdict = read_verdict(second / "verdict.json")
    assert not verdict.blessed
    assert verdict.baseline == str(runs.root / "good")
    first, _ = runs.folders("Gate", "verdict")
    before = {c.result.name: c.result.auc for c in read_verdict(first / "verdict.json").classes}
    edema, effusion, mass, hernia = verdict.classes
    assert edema.reason == "its probabilities are not finite (NaN or infinite)"
    assert effusion.against_last["auc"].value == 0
    assert effusion.status == "passed" and effusion.against_last["auc"].finding == "not worse"
    assert mass.result.auc == pytest.approx(1 - before["Mass"])
    assert mass.against_last["auc"].value == pytest.approx(1 - 2 * before["Mass"], abs=1e-6)
    assert mass.against_last["auc"].finding == "worse" and mass.status == "failed"
    assert hernia.reason == "the same probability for every image"


def test_tfx_itself_honours_the_blessings(runs):
    from tfx.components.evaluator import constants
    from tfx.components.pusher.executor import Executor
    from tfx.dsl.input_resolution.strategies.latest_blessed_model_strategy import (
        LatestBlessedModelStrategy,
    )

    models = runs.artifacts("Model")
    blessings = [a for a in runs.artifacts("ModelBlessing") if "Gate" in a.uri]
    good, bad = sorted(models, key=lambda m: m.id)
    resolved = LatestBlessedModelStrategy().resolve_artifacts(
        None, {"model": models, "model_blessing": list(blessings)}
    )
    assert [m.id for m in resolved["model"]] == [good.id]
    yes, no = blessings
    assert yes.get_int_custom_property(constants.ARTIFACT_PROPERTY_CURRENT_MODEL_ID_KEY) == good.id
    assert no.get_int_custom_property(constants.ARTIFACT_PROPERTY_BASELINE_MODEL_ID_KEY) == good.id
    assert (Path(yes.uri) / constants.BLESSED_FILE_NAME).is_file()
    assert (Path(no.uri) / constants.NOT_BLESSED_FILE_NAME).is_file()
    assert read_verdict(Path(no.uri) / "verdict.json").reasons
    assert no.get_string_custom_property("summary").startswith("Not blessed, ")
    assert Executor().CheckBlessing({"model_blessing": [yes]})
    assert not Executor().CheckBlessing({"model_blessing": [no]})
    assert bad.uri == no.get_string_custom_property("current_model")


def test_models_of_other_classes_or_splits_are_passed_over(runs, tmp_path):
    from tfx.types.standard_artifacts import Model

    from cxrflow.components.evaluate.component import LatestOtherBlessedModelStrategy

    def resolve(name, classes=CLASSES, **said):
        candidate = Model()
        candidate.uri, candidate.id = str(tmp_path / name), 10_000
        write_model(Path(candidate.uri), [1.0] * len(CLASSES), classes, **said)
        resolved = LatestOtherBlessedModelStrategy().resolve_artifacts(
            None,
            {
                "model": [*runs.artifacts("Model"), candidate],
                "model_blessing": runs.artifacts("ModelBlessing"),
                "candidate": [candidate],
                "passed_over": [*runs.artifacts("Model"), candidate],
            },
        )
        assert resolved["candidate"] == [candidate]
        return [[m.uri for m in resolved[key]] for key in ("model", "passed_over")]

    good = str(runs.root / "good")
    assert resolve("alike") == [[good], []]
    assert resolve("fewer", CLASSES[:3]) == [[], [good]]
    assert resolve("official", split="official test list") == [[], [good]]


def test_a_model_of_another_split_is_passed_over_with_the_reason(tmp_path):
    with_data(tmp_path)
    write_model(tmp_path / "before", [1.0, 1.0, 1.0, 1.0])
    write_model(tmp_path / "now", [1.0, 1.0, 1.0, 1.0], split="official test list")
    run(tmp_path, "before")
    run(tmp_path, "now")
    last = Runs(tmp_path, []).folders("Gate", "verdict")[-1]
    verdict = read_verdict(last / "verdict.json")
    assert verdict.blessed and not verdict.baseline and not verdict.against_last
    reason = (
        "against the last blessed model: its X-rays were split otherwise (unknown; now official "
        "test list), so that it may have learned from this test split"
    )
    assert reason in verdict.not_judged
