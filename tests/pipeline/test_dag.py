"""Which nodes a profile has, what each gets from which, and its cache key; no data, no run."""

import dataclasses
import gc
import json
import sys
import threading
from collections import defaultdict
from pathlib import Path
from typing import Any

import pytest

from cxrflow.pipeline import config
from cxrflow.pipeline.cache_key import Sources
from cxrflow.pipeline.facts import Facts
from tests.support.executors import EXECUTORS

pytestmark = pytest.mark.tf

NOWHERE = Path("/nowhere")
FACTS = Facts(
    data_version="data-1",
    synthetic=True,
    official_split=False,
    weights=defaultdict(lambda: "weights-1"),
    schema=NOWHERE / "schema.pbtxt",
    published="",
    published_edge="",
    sources=Sources.read(),
    boxes="/nowhere/BBox_List_2017.csv",
    boxes_version="boxes-1",
)
DATA = {
    "RecipeCheck": set(),
    "ImageExampleGen": {"RecipeCheck"},
    "StatisticsGen": {"ImageExampleGen"},
    "ImportSchemaGen": set(),
    "ExampleValidator": {"StatisticsGen", "ImportSchemaGen"},
    "ValidationGate": {
        *("ImageExampleGen", "StatisticsGen", "ImportSchemaGen", "ExampleValidator")
    },
    "Transform": {"ImageExampleGen", "ImportSchemaGen", "ValidationGate"},
    "Baselines": {"Transform"},
}


def judged(model: str, scores: str, *trainers: str) -> dict[str, set[str]]:
    """The nodes after the model that is pushed, which node `model` puts out."""
    known = {model, *trainers, "RecipeCheck", "ImageExampleGen"}
    return {
        "Scorer.last_blessed": {"Transform", "LastBlessedModel"},
        "LastBlessedModel": {model},
        "Evaluator": {"Transform", model, "LastBlessedModel"},
        "Gate": {
            "Evaluator",
            model,
            scores,
            "Baselines",
            "LastBlessedModel",
            "Scorer.last_blessed",
        },
        "Localiser": {model, "ImageExampleGen"},
        "ServingCheck": {model, "Gate", "ImageExampleGen", "Transform"},
        "ModelCard": {*known, scores, "Baselines", "Gate", "Localiser"},
        "Pusher": {model, "Gate", "ServingCheck", "ModelCard"},
    }


def edge(model: str, *gates: str) -> dict[str, set[str]]:
    return {
        "EdgeExport": {model, *gates, "ImageExampleGen", "Transform"},
        "EdgeEvaluator": {"EdgeExport", model, "Transform"},
        "EdgePusher": {"EdgeEvaluator"},
    }


def one_model(name: str) -> dict[str, set[str]]:
    trainer = f"Trainer.{name}"
    return {
        **DATA,
        trainer: {"Transform"},
        "Scorer": {"Transform", trainer},
        **judged(trainer, "Scorer"),
        **edge(trainer, "Gate"),
    }


def ensemble(small: str, *others: str) -> dict[str, set[str]]:
    """Member `small` goes to the devices."""
    members = (small, *others)
    nodes = dict(DATA)
    for name in members:
        nodes[f"Trainer.{name}"] = {"Transform"}
        nodes[f"Evaluator.{name}"] = {"Transform", f"Trainer.{name}"}
        nodes[f"Gate.{name}"] = {f"Evaluator.{name}", f"Trainer.{name}"}
    trained = {f"{node}.{name}" for node in ("Trainer", "Gate") for name in members}
    nodes["Ensemble"] = {"Transform", *trained}
    judges = judged("Ensemble", "Ensemble", *(f"Trainer.{name}" for name in members))
    return {**nodes, **judges, **edge(f"Trainer.{small}", f"Gate.{small}", "Gate")}


WIRED = {
    "demo": ensemble("attention", "lse"),
    "nih": ensemble(
        "mobilenet", "mobilenet_v2", "inception_v3", "vgg19", "densenet121", "resnet50_v2"
    ),
    "nih_baseline": one_model("densenet121_simple"),
    "nih_mini": ensemble("mobilenet", "mobilenet_v2", "resnet"),
    "nih_sample": one_model("mobilenet_attention"),
    "own": one_model("mobilenet_probe"),
    "study": one_model("mobilenet_simple"),
}


@pytest.mark.parametrize("profile", config.profiles())
def test_nodes_and_edges_of_each_profile(profile: str) -> None:
    nodes = wired(config.load(profile))
    found = {
        name: {upstream.id for upstream in node.upstream_nodes} for name, node in nodes.items()
    }
    assert found == WIRED[profile]


@pytest.mark.parametrize(
    ("overrides", "official", "said"),
    [
        ([], True, "official test list"),
        ([], False, "hash of patients, 0.2 to test, salt cxrflow"),
        (
            ["ingest.test_share=0.3", "ingest.split_salt=x", "ingest.eval_share=0.3"],
            False,
            "hash of patients, 0.3 to test, salt x",
        ),
        (["data=chexpert"], False, "the source's own split, valid.csv"),
        (
            ["data=vindr_cxr"],
            False,
            "the source's own split, annotations/image_labels_test.csv",
        ),
        (["data=nih"], False, "the source's own split, test_list.txt"),
        (["data=nih", "ingest.split=hash"], False, "hash of patients, 0.2 to test, salt cxrflow"),
    ],
)
def test_models_name_what_decided_their_test_split(
    overrides: list[str], official: bool, said: str
) -> None:
    loaded = config.load("nih_sample", overrides)
    facts = dataclasses.replace(FACTS, official_split=official)
    node = wired(loaded, facts)["Trainer.mobilenet_attention"]
    assert json.loads(node.exec_properties["custom_config"])["split"] == said


def test_of_the_last_blessed_model_test_alone_is_scored() -> None:
    nodes = wired(config.load("own"))
    scored = {
        name: json.loads(nodes[name].exec_properties["settings"])["splits"]
        for name in ("Scorer", "Scorer.last_blessed")
    }
    assert scored == {"Scorer": ["eval", "test"], "Scorer.last_blessed": ["test"]}


def test_what_the_ensemble_teaches_goes_to_the_device() -> None:
    nodes = wired(config.load("demo", ["distill.member=lse"]))
    found = {
        name: {upstream.id for upstream in node.upstream_nodes}
        for name, node in nodes.items()
        if name not in WIRED["demo"] or name.startswith("Edge")
    }
    assert found == {
        "Trainer.distilled": {"Transform", "Ensemble"},
        "Evaluator.distilled": {"Transform", "Trainer.distilled"},
        "Gate.distilled": {"Evaluator.distilled", "Trainer.distilled"},
        "Scorer.distilled": {"Transform", "Trainer.distilled"},
        **edge("Trainer.distilled", "Gate.distilled", "Gate"),
        "EdgeEvaluator": {
            *("EdgeExport", "Trainer.distilled", "Transform"),
            *("Scorer.distilled", "Ensemble"),
        },
    }


@pytest.mark.parametrize("profile", config.profiles())
def test_keys_of_each_profile(profile: str) -> None:
    for name, node in wired(config.load(profile)).items():
        kind = "MemberGate" if name.startswith("Gate.") else name.partition(".")[0]
        modules = EXECUTORS.get(kind)
        if modules:
            assert FACTS.sources.key(*modules) in repr(node.exec_properties), name
        else:
            assert name in OF_TFX_ALONE


OF_TFX_ALONE = {"StatisticsGen", "ImportSchemaGen", "ExampleValidator", "LastBlessedModel"}
TRAINERS = {"Trainer.attention", "Trainer.lse"}
GATES = {"Gate.attention", "Gate.lse", "Gate"}
EVALUATORS = {"Evaluator.attention", "Evaluator.lse", "Evaluator"}
WITH_IMAGE_RULES = {
    "ImageExampleGen",
    "Transform",
    *TRAINERS,
    "Baselines",
    "Ensemble",
    "Localiser",
    "ServingCheck",
    "EdgeExport",
    "EdgeEvaluator",
}
CHANGES = (
    ("schema/image_rules.py", WITH_IMAGE_RULES),  # which are part of the exported graphs
    ("pipeline/reports/dashboard/pages.py", set()),
    ("pipeline/dag.py", set()),
    ("components/train/fit.py", TRAINERS),
    ("components/validate/gate.py", {"ValidationGate"}),
    ("components/evaluate/extractors.py", EVALUATORS),
    ("components/evaluate/together/executor.py", EVALUATORS),
    ("components/evaluate/gate.py", GATES),
    ("components/localise/score.py", {"Localiser"}),
    ("components/card/model_card.md.j2", {"ModelCard"}),
    ("components/evaluate/evidence/judge.py", {"Gate"}),
    ("components/floor/baselines.py", {"Baselines"}),
    ("components/score/predict.py", {"Baselines", "Ensemble", "Scorer.last_blessed"}),
    ("schema/reference.csv", {"Gate"}),
    ("serving/rest.py", {"ServingCheck"}),
    ("components/publish/push.py", {"ServingCheck", "Pusher", "EdgePusher"}),
    ("edge/infer.py", {"EdgeExport", "EdgeEvaluator"}),
)


@pytest.mark.parametrize(("path", "nodes"), CHANGES)
def test_a_change_in_the_code_concerns_these_nodes(path: str, nodes: set[str]) -> None:
    demo = config.load("demo")
    sources = FACTS.sources.changed(path, FACTS.sources.files[path] + b"\n# changed\n")
    before, after = wired(demo), wired(demo, dataclasses.replace(FACTS, sources=sources))
    changed = {n for n in before if before[n].exec_properties != after[n].exec_properties}
    assert changed == nodes


FACTS_CHANGES = (
    ({"data_version": "data-2"}, {"ImageExampleGen", *TRAINERS, "Ensemble"}),
    ({"weights": defaultdict(lambda: "weights-2")}, {"RecipeCheck", "Baselines", *TRAINERS}),
    (
        {"weights": defaultdict(lambda: "weights-1", lse="weights-2")},
        {"RecipeCheck", "Trainer.lse"},  # the baselines' network is the first member's
    ),
    ({"official_split": True}, {*TRAINERS, "Ensemble", "Gate"}),
    ({"schema": NOWHERE / "other.pbtxt"}, {"ImportSchemaGen"}),
    ({"boxes_version": "boxes-2"}, {"Localiser"}),
    ({"published": "1700000000 damaged"}, {"Pusher"}),
    ({"published_edge": "1700000000 damaged"}, {"EdgePusher"}),
)


@pytest.mark.parametrize(("change", "nodes"), FACTS_CHANGES)
def test_a_changed_fact_concerns_these_nodes(change: dict[str, Any], nodes: set[str]) -> None:
    demo = config.load("demo")
    before, after = wired(demo), wired(demo, dataclasses.replace(FACTS, **change))
    changed = {n for n in before if before[n].exec_properties != after[n].exec_properties}
    assert changed == nodes


SETTINGS_CHANGES = (
    ("ingest.max_bad_share=0.02", {"ImageExampleGen"}),
    ("validate.max_eval_distance=0.2", {"ValidationGate"}),
    ("transform.jpeg_quality=90", {"Transform", "Baselines", *TRAINERS, "Ensemble"}),
    ("train.epochs=3", {"RecipeCheck", *TRAINERS}),
    ("models.lse.epochs=3", {"RecipeCheck", "Trainer.lse"}),
    ("calibrate.sensitivity=0.8", {*TRAINERS, "Ensemble"}),
    ("out_of_distribution.quantile=0.9", TRAINERS),
    ("ensemble.folds=3", {"Ensemble"}),
    ("evaluate.slices=[view]", EVALUATORS),
    ("evaluate.min_auc=0.1", {"Gate"}),
    ("evaluate.must_beat=[metadata]", {"Gate"}),
    ("floor.folds=3", {"Baselines"}),
    ("evaluate.members.min_auc=0.1", GATES - {"Gate"}),
    ("evaluate.min_shown=5", set()),  # the dashboard's
    ("localise.draws=100", {"Localiser"}),
    ("card.authors=we", {"ModelCard"}),
    ("serving_check.images=3", {"ServingCheck"}),
    ("publish.keep_versions=3", {"Pusher"}),
    ("edge.keep_versions=3", {"EdgeExport", "EdgeEvaluator", "EdgePusher"}),
    ("beam.workers=2", set()),
    ("study.batch_size=16", set()),
)


@pytest.mark.parametrize(("override", "nodes"), SETTINGS_CHANGES)
def test_a_changed_setting_concerns_these_nodes(override: str, nodes: set[str]) -> None:
    before, after = wired(config.load("demo")), wired(config.load("demo", [override]))
    changed = {n for n in before if before[n].exec_properties != after[n].exec_properties}
    assert changed == nodes


def test_without_edge_and_serving_check() -> None:
    nodes = wired(config.load("nih_baseline", ["edge.enabled=false", "serving_check.kind=none"]))
    expected = WIRED["nih_baseline"].keys() - {
        "ServingCheck",
        "EdgeExport",
        "EdgeEvaluator",
        "EdgePusher",
    }
    assert nodes.keys() == expected
    pushed_after = {upstream.id for upstream in nodes["Pusher"].upstream_nodes}
    assert pushed_after == {"Trainer.densenet121_simple", "Gate", "ModelCard"}


def test_without_boxes_nothing_is_localised() -> None:
    nodes = wired(config.load("demo"), dataclasses.replace(FACTS, boxes="", boxes_version=""))
    assert nodes.keys() == WIRED["demo"].keys() - {"Localiser"}


def test_tfx_own_serving_check_takes_the_place_of_ours() -> None:
    nodes = wired(config.load("nih_baseline", ["serving_check.kind=infra_validator"]))
    expected = WIRED["nih_baseline"].keys() - {"ServingCheck"} | {"InfraValidator"}
    assert nodes.keys() == expected
    upstream = {node.id for node in nodes["Pusher"].upstream_nodes}
    assert upstream == {"Trainer.densenet121_simple", "Gate", "InfraValidator", "ModelCard"}


def test_wiring_touches_no_file_and_starts_no_process() -> None:
    demo = config.load("demo")
    wired(demo)  # what is imported late is imported now
    seen: list[tuple[str, object]] = []
    gc.collect()  # what earlier tests left might close files later
    active, here = True, threading.get_ident()

    def hook(event: str, arguments: tuple[object, ...]) -> None:
        ours = active and threading.get_ident() == here
        if ours and event.partition(".")[0] in ("open", "os", "subprocess", "socket", "shutil"):
            seen.append((event, arguments))

    sys.addaudithook(hook)  # stays until Python ends
    try:
        wired(demo)
    finally:
        active = False
    assert not seen


def wired(settings: config.PipelineConfig, facts: Facts = FACTS) -> dict[str, Any]:
    """The nodes by id."""
    from cxrflow.pipeline import dag

    pipeline = dag.create_pipeline(settings, NOWHERE / "data", NOWHERE / "root", facts)
    return {node.id: node for node in pipeline.components}
