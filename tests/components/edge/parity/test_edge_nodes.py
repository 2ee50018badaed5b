"""EdgeEvaluator and EdgePusher, run by TFX on a tiny model's bundle."""

import json
import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest

from cxrflow.components.edge.parity.report import read_report
from cxrflow.schema.store.manifest import read_manifest, verify
from cxrflow.schema.store.versions import list_versions

pytestmark = [pytest.mark.tf, pytest.mark.slow]

CASES = {  # whether the exporter exported, and settings
    "good": (1, {"draws": 20, "max_auc_loss": 0.05, "max_class_decision_change": 0.1}),
    "refused": (1, {"draws": 20, "max_difference": 1e-9}),
    "unexported": (0, {}),
}


@pytest.fixture(scope="module")
def run(made, tmp_path_factory) -> SimpleNamespace:
    """All cases in one pipeline, each with its evaluator and its pusher."""
    from ml_metadata.metadata_store import MetadataStore
    from tfx.dsl.components.common.importer import Importer
    from tfx.orchestration.local.local_dag_runner import LocalDagRunner
    from tfx.orchestration.metadata import sqlite_metadata_connection_config
    from tfx.orchestration.pipeline import Pipeline
    from tfx.types import standard_artifacts as artifacts

    from cxrflow.components.artifacts import EdgeCandidate
    from cxrflow.components.edge.export.settings import EdgeConfig
    from cxrflow.components.edge.parity.component import EdgeEvaluator
    from cxrflow.components.edge.parity.settings import EdgeEvaluatorSettings
    from cxrflow.components.edge.push.component import EdgePusher
    from cxrflow.components.edge.push.settings import EdgePusherSettings

    root = tmp_path_factory.mktemp("run")

    def imported(name: str, folder: Path, kind: type, **options: object):
        node = Importer(source_uri=str(folder), artifact_type=kind, **options)
        return node.with_id(name)

    model = imported("Model", made.saved_model.parent, artifacts.Model)
    splits = {"split_names": '["eval"]'}
    examples = imported("Examples", made.examples, artifacts.Examples, properties=splits)
    nodes = [model, examples]
    for case, (exported, settings) in CASES.items():
        bundle = root / "candidates" / case
        shutil.copytree(made.bundle, bundle)
        if case == "refused":
            info = json.loads((bundle / "model.json").read_text())
            info["variants"] = {"litert_fp16": info["variants"]["litert_fp16"]}
            (bundle / "model.json").write_text(json.dumps(info))
        properties = {"exported": exported}
        candidate = imported(case, bundle, EdgeCandidate, custom_properties=properties)
        evaluator = EdgeEvaluator(
            EdgeEvaluatorSettings(edge=EdgeConfig(**settings)),
            "1",
            candidate=candidate.outputs["result"],
            model=model.outputs["result"],
            transformed_examples=examples.outputs["result"],
        ).with_id(f"EdgeEvaluator.{case}")
        pusher = EdgePusher(
            EdgePusherSettings(
                destination=str(root / "pushed" / case / "edge"), keep_versions=2, published=""
            ),
            "1",
            bundle=evaluator.outputs["bundle"],
        ).with_id(f"EdgePusher.{case}")
        nodes += [candidate, evaluator, pusher]
    metadata = sqlite_metadata_connection_config(str(root / "sqlite"))
    LocalDagRunner().run(
        Pipeline(
            pipeline_name="test",
            pipeline_root=str(root / "root"),
            components=nodes,
            metadata_connection_config=metadata,
        )
    )

    def folder(case: str, output: str) -> Path:
        (found,) = (root / "root" / f"EdgeEvaluator.{case}" / output).iterdir()
        return found

    pushes = {}
    for push in MetadataStore(metadata).get_artifacts_by_type("cxrflow.EdgePush"):
        (case,) = [case for case in CASES if f"EdgePusher.{case}/" in push.uri]
        pushes[case] = push.custom_properties
    return SimpleNamespace(root=root, folder=folder, pushes=pushes)


def test_a_good_bundle_is_pushed_whole(run, made):
    base = run.root / "pushed" / "good" / "edge"
    (version,) = list_versions(base)
    pushed = base / str(version)
    assert verify(pushed) == []
    assert run.pushes["good"]["pushed"].int_value == 1
    assert run.pushes["good"]["edge_destination"].string_value == str(pushed)
    report = read_report(pushed)
    assert report == read_report(run.folder("good", "report"))
    assert len(report.blessed) == 6
    assert read_manifest(pushed).notes == {"synthetic": True, "variants": report.blessed}
    info = json.loads((pushed / "model.json").read_text())
    assert info["variants"]["onnx"]["max_difference"] < 1e-5
    names = {path.name for path in made.bundle.iterdir()}
    assert {path.name for path in pushed.iterdir()} == names | {
        "parity_report.json",
        "manifest.json",
    }


@pytest.mark.parametrize(
    ("case", "said"),
    [
        ("refused", "edge bundle: 0 of 1 variants blessed; litert_fp16 not: a probability"),
        ("unexported", "edge bundle: none: the model isn't blessed"),
    ],
)
def test_what_is_not_blessed_is_told_and_not_pushed(run, case, said):
    assert read_report(run.folder(case, "report")).line.startswith(said)
    assert list(run.folder(case, "bundle").iterdir()) == []
    assert not (run.root / "pushed" / case).exists()
    assert run.pushes[case]["pushed"].int_value == 0
    assert "edge_destination" not in run.pushes[case]
