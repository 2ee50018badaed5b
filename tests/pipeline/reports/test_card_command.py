"""`cxrflow card` on a made run."""

import json
from dataclasses import asdict
from pathlib import Path

import pytest
from typer.testing import CliRunner

from cxrflow.components.evaluate.results import ClassResult
from cxrflow.pipeline.cli.app import app
from cxrflow.pipeline.record import Run
from cxrflow.schema.errors import CxrflowError
from cxrflow.schema.metadata_json import metadata_faults
from cxrflow.schema.model_json import Member, ModelJson, write_model_json
from tests.components.card.test_card_inputs import row, write

pytestmark = pytest.mark.tf


@pytest.fixture(scope="module")
def root(tmp_path_factory) -> Path:
    """A run of one model that the gate didn't bless, without boxes and baselines."""
    import tensorflow as tf

    root = tmp_path_factory.mktemp("run")
    model = root / "artifacts" / "model"
    tf.saved_model.save(tf.Module(), str(model))
    member = Member("attention", "MobileNet", "attention", 1.0)
    info = ModelJson(("Effusion", "Mass"), name="attention", image_size=64, members=(member,))
    write_model_json(model, info)
    write(root / "artifacts" / "records" / "Split-train", [row("1", 30, "F", "PA", "Mass")])
    write(root / "artifacts" / "records" / "Split-test", [row("2", 60, "M", "AP")])
    verdict = root / "artifacts" / "verdict"
    verdict.mkdir()
    results = [ClassResult(name, 3, 9, *[0.6] * 10) for name in info.classes]
    classes = [
        {"result": asdict(result), "status": "not gated", "reason": "3 positives", "min_auc": 0.5}
        for result in results
    ]
    fields = {"name": "attention", "split": "test", "blessed": False, "reasons": ["Nothing judged"]}
    more = {"synthetic": False, "classes": classes, "mean_auc": 0.6, "slices": {}, "baseline": ""}
    (verdict / "verdict.json").write_text(json.dumps({**fields, **more}))
    artifacts = {
        "ImageExampleGen": {"records": str(root / "artifacts" / "records")},
        "Trainer.attention": {"model": str(model), "model_run": str(root / "artifacts" / "logs")},
        "Gate": {"verdict": str(verdict)},
    }
    config = {"ingest": {"cohort": "findings"}}
    Run(config, "/data", False, 1.0, [], [], artifacts, pushed="", log="logs/1.log").write(root)
    return root


def card(*arguments: object):
    return CliRunner().invoke(app, ["card", *map(str, arguments)])


def test_a_card_of_a_run_that_knows_little(root, tmp_path):
    found = card("--root", root, "--to", tmp_path / "card")
    assert found.exit_code == 0, found.output
    names = ["model_card.md", "model_card.html", "metadata.json", "sbom.cdx.json"]
    assert found.stdout.splitlines() == [str(tmp_path / "card" / name) for name in names]
    text = (tmp_path / "card" / "model_card.md").read_text()
    assert "- Nothing judged" in text and "| Mass | 1 | 0 |" in text
    assert "Only images with at least one of the findings are in" in text
    assert metadata_faults((tmp_path / "card" / "metadata.json").read_text()) == []

    assert card(root, "--root", root).exit_code == 0  # the same run twice; beside the run
    assert (root / "card" / "model_card.md").read_text() == text


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["a", "--root", "b"], "two runs: name one"),
        (["gone"], "no finished run in gone"),
    ],
)
def test_what_is_no_run_is_one_line(arguments, said):
    assert said in str(card(*arguments).exception)


def test_a_run_without_a_gate_has_no_card(root, tmp_path):
    run = Run.read(root)
    del run.artifacts["Gate"]
    run.write(tmp_path)
    error = card(tmp_path).exception
    assert isinstance(error, CxrflowError) and "the run has no Gate" in str(error)
