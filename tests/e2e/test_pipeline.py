"""The whole pipeline, once, on a small synthetic set; every test looks at the same run."""

import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from cxrflow.pipeline.run import Run
from tests.pipeline.command import cxrflow
from tests.pipeline.terminals import on_terminal

pytestmark = [pytest.mark.tf, pytest.mark.e2e, pytest.mark.timeout(1800)]

MEMBERS = ("attention", "lse")  # of the demo's ensemble
NODES = {
    "RecipeCheck",
    "ImageExampleGen",
    "StatisticsGen",
    "ImportSchemaGen",
    "ExampleValidator",
    "ValidationGate",
    "Transform",
    "Baselines",
    *(f"{node}.{name}" for node in ("Trainer", "Evaluator", "Gate") for name in MEMBERS),
    "Ensemble",
    "LastBlessedModel",
    "Evaluator",
    "Scorer.last_blessed",
    "Gate",
    "Localiser",
    "ModelCard",
    "ServingCheck",
    "Pusher",
    "EdgeExport",
    "EdgeEvaluator",
    "EdgePusher",
}
# Small enough for a minute or so; how much it learns doesn't matter here.
SMALL = {
    "phantom.patients": 60,
    "transform.image_size": 96,
    "train.image_size": 64,
    "train.epochs": 6,
    "train.batch_size": 16,
    "train.bn_momentum": 0.5,
    "evaluate.min_auc": 0,
    "evaluate.min_mean_auc": 0,
    "evaluate.min_positive_patients": 1,
    "evaluate.must_beat": [],
    "evaluate.metrics": ["auc"],
    "evaluate.max_ece_rise": 1,
    "evaluate.max_brier_rise": 1,
    "evaluate.max_subgroup_gap": 1,
    "evaluate.members.min_mean_auc": 0,
    "evaluate.members.min_positives": 1,
    "evaluate.max_auc_drop": 1,
    "evaluate.max_class_auc_drop": 1,
    "validate.max_eval_distance": 1,
    "validate.max_test_distance": 1,
    "serving_check.requests": 5,
    "serving_check.max_latency_ms": 60_000,
    "localise.draws": 20,
    "edge.calibration_images": 16,
    "edge.draws": 20,
}

# What another gate runs, without the UNCHECKED: the recipe is looked at before, the model after.
JUDGED = {
    "RecipeCheck",
    "LastBlessedModel",
    "Scorer.last_blessed",
    "Evaluator",
    "Gate",
    "ModelCard",
    "Pusher",
}
# The first run has shown these nodes.
UNCHECKED = {"serving_check__kind": "none", "edge__enabled": False}


@dataclass(frozen=True)
class Finished:
    """A run of the command line."""

    root: Path
    output: str
    run: Run


def arguments(root: Path, **changes: object) -> list[str]:
    """Arguments of `cxrflow`."""
    settings = {**SMALL, **{key.replace("__", "."): value for key, value in changes.items()}}
    overrides = [part for key, value in settings.items() for part in ("--set", f"{key}={value}")]
    return ["run", "--profile", "demo", "--root", str(root), *overrides]


def python(root: Path) -> list[str]:
    """Arguments of Python."""
    return ["-m", "cxrflow.pipeline.cli", *arguments(root)]


def run_again(root: Path, **changes: object) -> Finished:
    """In this process, which has loaded TensorFlow and TFX."""
    from absl import logging  # noqa: F401 (its handler keeps the sys.stderr that it finds)

    ended = cxrflow(*arguments(root, **changes))
    assert ended.code == 0, ended.out + ended.err
    return Finished(root, ended.out + ended.err, Run.read(root))


def executed_last(root: Path) -> set[str]:
    """Ids of the nodes that the last run really ran, as ML Metadata has them."""
    from ml_metadata.metadata_store import MetadataStore
    from ml_metadata.proto import metadata_store_pb2

    from cxrflow.pipeline import history

    connection = metadata_store_pb2.ConnectionConfig()
    connection.sqlite.filename_uri = str(root / "metadata.sqlite")
    store = MetadataStore(connection)
    last = max(store.get_contexts_by_type("pipeline_run"), key=lambda context: context.id)
    found = history.executions(store, "cxrflow", last.name)
    complete = metadata_store_pb2.Execution.COMPLETE
    return {node for node, each in found.items() if each.last_known_state == complete}


@pytest.fixture(scope="module")
def first(tmp_path_factory: pytest.TempPathFactory) -> Finished:
    root = tmp_path_factory.mktemp("run")
    result = subprocess.run([sys.executable, *python(root)], capture_output=True, text=True)
    assert result.returncode == 0, result.stdout + result.stderr
    return Finished(root, result.stdout + result.stderr, Run.read(root))


def test_every_node_runs_and_the_terminal_shows_only_them(first: Finished) -> None:
    assert set(first.run.executed) == NODES
    lines = first.output.splitlines()
    assert lines[0].startswith("log: ") and Path(lines[0].removeprefix("log: ")).is_file()
    marks = [line for line in lines if line.startswith("✓")]
    assert [line.split()[2] for line in marks] == first.run.executed
    assert not any(
        noise in first.output for noise in ("WARNING", "Traceback", "INFO", "tensorflow")
    )


def test_summary_has_classes_verdict_and_whereabouts(first: Finished) -> None:
    assert "synthetic" in first.output
    for text in ("Cardiomegaly", "positive", "gate: blessed", "pushed", "quarantine", "next"):
        assert text in first.output
    for text in (*MEMBERS, "stacked", "max_vote", "chosen", "cross-fitting", "ECE"):
        assert text in first.output


def test_model_is_pushed_whole(first: Finished) -> None:
    from cxrflow.schema.store.manifest import verify

    version = Path(first.run.pushed)
    assert version.parent == first.root.resolve() / "serving" / "cxrflow"
    assert verify(version) == []
    described = json.loads((version / "assets.extra" / "model.json").read_text())
    assert len(described["classes"]) == 13
    assert described["synthetic"] is True
    assert {member["name"] for member in described["members"]} == set(MEMBERS)
    assert described["thresholds"].keys() == described["calibration"].keys()


def test_model_is_what_its_card_and_metadata_say(first: Finished) -> None:
    from cxrflow.components.localise.report import read_localisation
    from cxrflow.components.publish.verify import verify

    version = Path(first.run.pushed)
    found = verify(version)
    assert (found.faults, found.notes) == ((), ("whole, and answers as it says", "unsigned"))
    card = (version / "assets.extra" / "model_card.md").read_text()
    assert "synthetic X-rays" in card and "| Cardiomegaly |" in card and "sbom.cdx.json" in card
    assert all(f"| {member} | MobileNet |" in card for member in MEMBERS)
    report = read_localisation(Path(first.run.artifacts["Localiser"]["report"]))
    assert report.model == "ensemble" and report.of("Cardiomegaly")
    assert "attention maps: the highest place lies in a box of the finding on" in first.output


def test_edge_bundle_is_pushed_whole_and_runs(first: Finished, tmp_path: Path) -> None:
    from cxrflow.components.edge.parity.report import read_report
    from cxrflow.schema.store.manifest import verify

    bundle = Path(first.run.edge)
    assert bundle.parent == first.root.resolve() / "edge"
    assert verify(bundle) == []
    report = read_report(bundle)
    assert report.model == MEMBERS[0] and report.synthetic
    assert {"litert_fp32", "frozen_graph", "onnx"} <= set(report.blessed)
    assert "edge bundle: " in first.output and str(bundle) in first.output
    checked = subprocess.run(
        [sys.executable, str(bundle / "infer.py"), "--check"], capture_output=True, text=True
    )
    assert checked.returncode == 0, checked.stdout + checked.stderr


def test_members_are_judged_on_eval_and_the_ensemble_on_test(first: Finished) -> None:
    from cxrflow.components.evaluate.verdict import read_verdict

    splits = {
        node: read_verdict(Path(first.run.artifacts[node]["verdict"]) / "verdict.json").split
        for node in ("Gate", *(f"Gate.{name}" for name in MEMBERS))
    }
    assert splits == {"Gate": "test", "Gate.attention": "eval", "Gate.lse": "eval"}
    assert "blessing" not in first.run.artifacts["Gate.lse"]


def test_pushed_model_serves_a_png(first: Finished) -> None:
    import tensorflow as tf

    png = next((Path(first.run.data_dir) / "images").glob("*.png")).read_bytes()
    model = tf.saved_model.load(first.run.pushed)
    answer = model.signatures["serving_default"](image_bytes=tf.constant([png, png]))
    assert answer["probabilities"].shape == (2, 13)


def test_no_patient_in_two_splits(first: Finished) -> None:
    import tensorflow as tf

    records = Path(first.run.artifacts["ImageExampleGen"]["records"])
    patients = {}
    for split in ("train", "eval", "test"):
        files = [str(path) for path in (records / f"Split-{split}").glob("*")]
        patients[split] = {
            tf.train.Example.FromString(raw).features.feature["patient/id"].bytes_list.value[0]
            for raw in tf.data.TFRecordDataset(files).as_numpy_iterator()
        }
        assert patients[split]
    assert not patients["train"] & patients["eval"]
    assert not patients["train"] & patients["test"]
    assert not patients["eval"] & patients["test"]


def test_no_float_pixels_on_disk(first: Finished) -> None:
    transformed = Path(first.run.artifacts["Transform"]["transformed_examples"])
    images = sum(1 for _ in (Path(first.run.data_dir) / "images").iterdir())
    size = sum(path.stat().st_size for path in transformed.rglob("*") if path.is_file())
    assert size / images < 96 * 96  # less than a byte a pixel, labels included


def test_second_run_of_a_moved_root_changes_nothing_and_shows_only_that(first: Finished) -> None:
    """On a terminal, where libraries write as they like."""
    moved = first.root.with_name("moved run")
    first.root.rename(moved)
    try:
        seen = on_terminal(python(moved), timeout=1200)
        again = Run.read(moved)
        log = Path(again.log).read_text()
    finally:
        moved.rename(first.root)
    assert seen.code == 0, seen.text
    # The pushers look once more whether their versions are still there.
    assert set(again.executed) <= {"LastBlessedModel", "Pusher", "EdgePusher"}
    assert set(again.executed) | set(again.cached) == NODES
    for now, before in ((again.pushed, first.run.pushed), (again.edge, first.run.edge)):
        assert now == before.replace(str(first.root.resolve()), str(moved.resolve()))
    assert "nothing trained" in seen.text
    assert seen.written <= 90  # the summary, and a line a node or less
    marks = {line[0] for line in seen.lines if f"/{len(NODES)} " in line[:9]}
    assert marks <= {"=", "✓"}
    assert not any(noise in seen.text for noise in ("WARNING", "INFO", "Traceback", "absl"))
    for node in NODES:
        assert f"Component {node} is finished" in log


def test_failed_gate_pushes_nothing_and_says_why(first: Finished) -> None:
    strict = run_again(first.root, evaluate__min_auc=1)
    assert "nothing trained" in strict.output
    assert (strict.run.pushed, strict.run.edge) == ("", "")
    assert "edge bundle: none: the model isn't blessed" in strict.output
    assert "not blessed" in strict.output and "failed: AUC" in strict.output


# Local: one model, without an ensemble. Beam: only what judges is another, so nothing trains.
@pytest.mark.parametrize(
    ("engine", "changes", "executed"),
    [
        (
            "local",
            {"models": "{}"},
            {"Trainer.mobilenet_attention", "Scorer", "Localiser", *JUDGED},
        ),
        ("beam", {"evaluate.min_mean_auc": 0.01}, JUDGED),
    ],
)
def test_tfx_command_line(
    first: Finished,
    engine: str,
    changes: dict[str, object],
    executed: set[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    from tfx.tools.cli.cli_main import cli_group

    unchecked = {key.replace("__", "."): value for key, value in UNCHECKED.items()}
    settings = {**SMALL, **unchecked, **changes}
    monkeypatch.setenv(f"{engine.upper()}_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("CXRFLOW_PROFILE", "demo")
    monkeypatch.setenv("CXRFLOW_ROOT", str(first.root))
    monkeypatch.setenv("CXRFLOW_SET", " ".join(f"{key}={value}" for key, value in settings.items()))

    def tfx(*args: str) -> str:
        """What `tfx ...` prints; its runs have a process of their own."""
        cli_group([*args, "--engine", engine], standalone_mode=False)
        captured = capfd.readouterr()
        return captured.out + captured.err

    before = set((first.root / "serving" / "cxrflow").iterdir())
    runner = Path(__file__).parents[2] / "pipeline" / "runners" / f"{engine}.py"
    assert "created successfully" in tfx("pipeline", "create", "--pipeline_path", str(runner))
    assert set((first.root / "serving" / "cxrflow").iterdir()) == before
    said = tfx("run", "create", "--pipeline_name", "cxrflow")
    pushed = set((first.root / "serving" / "cxrflow").iterdir()) - before
    assert len(pushed) == 1, said
    assert executed_last(first.root) == executed
