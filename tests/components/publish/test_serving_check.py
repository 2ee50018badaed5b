"""ServingCheck and the Pushers behind it, run by TFX on tiny models.

Each image's probabilities follow from the number of its bytes, so that every answer is known.
"""

import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from cxrflow.components.publish.settings import PublishConfig, PusherSettings, ServingCheckConfig
from cxrflow.schema.errors import CxrflowError
from cxrflow.schema.model_json import ModelJson
from cxrflow.schema.store.versions import list_versions

pytestmark = [pytest.mark.tf, pytest.mark.slow]

IMAGES = 6
SETTINGS = {"images": 4, "requests": 8, "max_latency_ms": 60_000}


def example(**features: bytes) -> bytes:
    import tensorflow as tf

    return tf.train.Example(
        features=tf.train.Features(
            feature={
                name: tf.train.Feature(bytes_list=tf.train.BytesList(value=[value]))
                for name, value in features.items()
            }
        )
    ).SerializeToString()


def write_examples(root: Path) -> None:
    """Raw ones, and transformed ones in another order."""
    import tensorflow as tf

    random = np.random.default_rng(0)
    pngs = [
        tf.io.encode_png(random.integers(0, 255, (64 + 8 * i, 64, 1), np.uint8)).numpy()
        for i in range(IMAGES)
    ]
    raw = [example(**{"image/id": b"%d.png" % i, "image/encoded": p}) for i, p in enumerate(pngs)]
    transformed = [example(**{"image/id": b"%d.png" % i, "image": p}) for i, p in enumerate(pngs)]
    for folder, records in (("raw", raw), ("transformed", transformed[::-1])):
        path = root / folder / "Split-eval" / "data-00000-of-00001"
        path.parent.mkdir(parents=True)
        with tf.io.TFRecordWriter(str(path)) as writer:
            for record in records:
                writer.write(record)


def write_model(folder: Path, error: float = 0.0) -> None:
    """`error` is added to what is served, and not to the Trainer's own outputs."""
    import tensorflow as tf

    from cxrflow.components.model.assets import write_assets

    class Tiny(tf.Module):
        def probabilities(self, images):
            x = tf.cast(tf.strings.length(images), tf.float32) / 10_000
            return tf.stack([x, 1 - x], axis=1)

        @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="image_bytes")])
        def serve(self, image_bytes):
            return {"probabilities": self.probabilities(image_bytes) + error}

        @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="examples")])
        def transformed(self, examples):
            spec = {"image": tf.io.FixedLenFeature([], tf.string)}
            images = tf.io.parse_example(examples, spec)["image"]
            return {"probabilities": self.probabilities(images)}

    model, saved = Tiny(), folder / "Format-Serving"
    signatures = {"serving_default": model.serve, "transformed_examples": model.transformed}
    tf.saved_model.save(model, str(saved), signatures=signatures)
    write_assets(saved, ModelJson(classes=("A", "B"), image_size=8))


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> SimpleNamespace:
    """Candidates in one pipeline, each with its check and a Pusher, ours or TFX's own."""
    from tfx import components
    from tfx.dsl.components.common.importer import Importer
    from tfx.orchestration.local.local_dag_runner import LocalDagRunner
    from tfx.orchestration.metadata import sqlite_metadata_connection_config
    from tfx.orchestration.pipeline import Pipeline
    from tfx.proto.pusher_pb2 import PushDestination
    from tfx.types import standard_artifacts as artifacts

    from cxrflow.components.publish.component import Pusher, ServingCheck

    root = tmp_path_factory.mktemp("run")
    write_examples(root)
    for name, error in (("good", 0.0), ("other", 0.2), ("broken", 0.0)):
        write_model(root / name, error)
    (root / "broken" / "Format-Serving" / "saved_model.pb").write_bytes(b"no graph")

    def imported(name: str, folder: str, kind: type, **options: object):
        node = Importer(source_uri=str(root / folder), artifact_type=kind, **options)
        return node.with_id(name)

    splits = {"properties": {"split_names": '["eval"]'}}
    raw = imported("Raw", "raw", artifacts.Examples, **splits)
    transformed = imported("Transformed", "transformed", artifacts.Examples, **splits)
    yes, no = (
        imported(name, name, artifacts.ModelBlessing, custom_properties={"blessed": value})
        for name, value in (("Yes", 1), ("No", 0))
    )
    nodes = [raw, transformed, yes, no]
    for case, model, blessing, changes in (
        ("good", "good", yes, {}),
        ("bad", "other", yes, {"max_latency_ms": 0.01, "max_memory_mb": 10}),
        ("broken", "broken", yes, {}),
        ("refused", "good", no, {}),
    ):
        candidate = imported(f"Trainer.{case}", model, artifacts.Model, reimport=True)
        check = ServingCheck(
            ServingCheckConfig(**SETTINGS | changes),
            "1",
            model=candidate.outputs["result"],
            model_blessing=blessing.outputs["result"],
            examples=raw.outputs["result"],
            transformed_examples=transformed.outputs["result"],
        ).with_id(f"ServingCheck.{case}")
        base_dir = str(root / "serving" / case)
        inputs = {
            "model": candidate.outputs["result"],
            "infra_blessing": check.outputs["blessing"],
        }
        if case == "good":  # TFX's own honours the check too
            filesystem = PushDestination.Filesystem(base_directory=base_dir)
            destination = PushDestination(filesystem=filesystem)
            pusher = components.Pusher(push_destination=destination, **inputs)
        else:
            settings = PusherSettings(destination=base_dir, publish=PublishConfig(), published="")
            pusher = Pusher(settings, "1", **inputs)
        pusher = pusher.with_id(f"Pusher.{case}")
        nodes += [candidate, check, pusher]
    metadata = sqlite_metadata_connection_config(str(root / "metadata.sqlite"))
    pipeline = Pipeline("test", str(root / "root"), metadata, nodes)
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("no_proxy", raising=False)
        patch.setenv("https_proxy", "http://127.0.0.1:9")  # where nothing listens
        LocalDagRunner().run(pipeline)

    def report(case: str) -> dict:
        (path,) = (root / "root" / f"ServingCheck.{case}" / "report").glob("*/serving_check.json")
        return json.loads(path.read_text())

    def blessing_files(case: str) -> list[str]:
        folder = root / "root" / f"ServingCheck.{case}" / "blessing"
        return [p.name for p in folder.glob("*/*") if p.is_file()]

    return SimpleNamespace(root=root, report=report, blessing_files=blessing_files)


def pushed(run: SimpleNamespace, case: str) -> list[int]:
    return list_versions(run.root / "serving" / case)


def test_a_good_model_is_blessed_and_pushed(run):
    found = run.report("good")
    assert found["blessed"] and found["reasons"] == []
    assert found["images"] == 4
    assert found["max_difference"] < 1e-6
    assert 0 < found["latency_ms_median"] <= found["latency_ms_p95"] < 60_000
    assert found["start_seconds"] > 0
    assert 100 < found["memory_mb"] < 4096  # TensorFlow alone takes more than 100 MB
    assert run.blessing_files("good") == ["INFRA_BLESSED"]
    assert len(pushed(run, "good")) == 1


@pytest.mark.parametrize(
    ("case", "reasons"),
    [
        (
            "bad",
            [
                r"4 of 4 answers differ .* by more than 0.001 .*: 0.png by 0.2000, 1.png",
                r"5 % of answers take .* above 0.01",
                r"the server took .* MB, above 10",
            ],
        ),
        ("broken", [r"the model can't be run: "]),
        ("refused", [r"not checked: the gate didn't bless the model"]),
    ],
)
def test_a_bad_model_is_not_pushed_and_the_reason_is_kept(run, case, reasons):
    import re

    found = run.report(case)
    assert not found["blessed"]
    assert len(found["reasons"]) == len(reasons)
    for reason, expected in zip(found["reasons"], reasons, strict=True):
        assert re.match(expected, reason), reason
    assert run.blessing_files(case) == ["INFRA_NOT_BLESSED"]
    assert pushed(run, case) == []


def test_tfx_reads_the_blessings(run):
    import ml_metadata as mlmd
    from ml_metadata.proto import metadata_store_pb2

    config = metadata_store_pb2.ConnectionConfig()
    config.sqlite.filename_uri = str(run.root / "metadata.sqlite")
    store = mlmd.MetadataStore(config)
    blessed = {
        a.uri.split("ServingCheck.")[1].split("/")[0]: a.custom_properties["blessed"].int_value
        for a in store.get_artifacts_by_type("InfraBlessing")
    }
    assert blessed == {"good": 1, "bad": 0, "broken": 0, "refused": 0}
    for artifact in store.get_artifacts_by_type("PushedModel"):
        case = artifact.uri.split("Pusher.")[1].split("/")[0]
        assert artifact.custom_properties["pushed"].int_value == blessed[case]


def test_a_server_that_refuses_says_why(tmp_path):
    """The reason comes from the server's process, as the model itself runs here."""
    from cxrflow.components.publish.check import check_serving, read_samples

    write_examples(tmp_path)
    write_model(tmp_path / "model")
    samples = read_samples(
        tmp_path / "raw" / "Split-eval", tmp_path / "transformed" / "Split-eval", 2
    )
    assert [s.image_id for s in samples] == ["0.png", "1.png"]
    model = tmp_path / "model" / "Format-Serving"
    work = tmp_path / "work"
    work.mkdir()
    found = check_serving(model, samples, ServingCheckConfig(start_seconds=1), work)
    assert found.reasons == [
        "the server doesn't take the model: no answer within 1 s (serving_check.start_seconds)"
    ]


def test_answers_that_are_not_finite_differ():
    from cxrflow.components.publish.check import Sample, _compare
    from cxrflow.components.publish.report import CheckReport

    answers = iter([[0.5, np.nan], [0.5], [0.5, 0.25]])
    server = SimpleNamespace(probabilities=lambda image: np.array(next(answers)))
    samples = [Sample(f"{i}.png", b"", b"") for i in range(3)]
    found = CheckReport()
    _compare(server, samples, np.full((3, 2), 0.5), ServingCheckConfig(max_difference=0.3), found)
    assert found.reasons == [
        "2 of 3 answers differ from the Trainer's by more than 0.3 (serving_check.max_difference): "
        "0.png by inf, 1.png by inf"
    ]
    assert found.max_difference is None


def test_samples_must_be_there(tmp_path):
    from cxrflow.components.publish.check import read_samples

    write_examples(tmp_path)
    raw, transformed = (tmp_path / kind / "Split-eval" for kind in ("raw", "transformed"))
    (tmp_path / "none").mkdir()
    with pytest.raises(CxrflowError, match="needs some of eval"):
        read_samples(tmp_path / "none", transformed, 2)
    with pytest.raises(CxrflowError, match=r"0.png is not among the transformed"):
        read_samples(raw, tmp_path / "none", 2)
    assert len(read_samples(raw, transformed, 99)) == IMAGES


def test_tfx_own_check_asks_what_the_settings_say():
    from tfx.types import standard_artifacts as kinds
    from tfx.types.channel import Channel

    from cxrflow.components.publish.component import infra_validator

    model, examples = (Channel(type=kind) for kind in (kinds.Model, kinds.Examples))
    settings = ServingCheckConfig(
        kind="infra_validator", images=3, start_seconds=60, docker_image_tag="2.19.0"
    )
    properties = infra_validator(settings, model, examples).exec_properties
    serving = json.loads(properties["serving_spec"])
    assert serving["tensorflow_serving"]["tags"] == ["2.19.0"]
    assert json.loads(properties["validation_spec"])["max_loading_time_seconds"] == 60
    asked = json.loads(properties["request_spec"])
    assert (asked["split_name"], asked["num_examples"]) == ("eval", 3)
