"""Where a run's description comes from, and what it changes of the settings."""

from pathlib import Path
from textwrap import indent

import pytest
from PIL import Image
from tensorflow_metadata.proto.v0 import schema_pb2
from typer.testing import CliRunner

from cxrflow.components.ingest.source.version import contract
from cxrflow.pipeline import config
from cxrflow.pipeline.cli.app import app
from cxrflow.pipeline.config_page import page
from cxrflow.pipeline.facts import SCHEMA
from cxrflow.schema.classes import DEFAULT_CLASSES
from cxrflow.schema.errors import CxrflowError

OWN = """
tables: [{ file: t.csv }]
columns: { image: i, patient: p }
labels: { classes: { a: Water, b: Big heart } }
slices: { ward: Station }
"""


def test_without_one_all_is_as_for_nih(tmp_path):
    loaded = config.load("nih", [], tmp_path)
    assert loaded.data is None and loaded.ingest.classes == DEFAULT_CLASSES


def test_the_folders_own_counts_where_the_profile_says_nothing(tmp_path, monkeypatch):
    (tmp_path / "data.yaml").write_text(OWN)
    loaded = config.load("nih", [], tmp_path)
    assert loaded.ingest.classes == ("Water", "Big heart")
    monkeypatch.chdir(tmp_path.parent)  # a folder's path counts from here, not from the profile
    assert config.load("own", [], Path(tmp_path.name)).ingest.classes == ("Water", "Big heart")
    one = config.load("nih", ["ingest.classes=[Water]", "data.labels.none=[ok]"], tmp_path)
    assert one.ingest.classes == ("Water",) and one.data.labels.none == ("ok",)
    assert config.load("nih", ["data=chexpert"], tmp_path).data.name == "CheXpert"


def test_a_profile_has_one_or_names_a_file_beside_it(tmp_path):
    (tmp_path / "mine.yaml").write_text(OWN)
    (tmp_path / "a.yaml").write_text("data: mine.yaml\n")
    (tmp_path / "b.yaml").write_text("data:\n" + indent(OWN, "  "))
    for name in ("a.yaml", "b.yaml"):
        assert config.load(str(tmp_path / name)).data.labels.names == ("Water", "Big heart")


def test_a_runs_record_reads_back(tmp_path):
    (tmp_path / "data.yaml").write_text(OWN)
    loaded = config.load("own", [], tmp_path)
    assert config.parse(config.to_dict(loaded)) == loaded
    assert "data: {name: own, tables: [{file: t.csv" in page(loaded)


@pytest.mark.parametrize(
    "override, says",
    [
        ("data=chexprt", "no description 'chexprt', did you mean chexpert?"),
        ("data=gone.yaml", "no description 'gone.yaml'"),
        ("data.tabels=[]", "there is no setting data.tabels"),
        ("data.views.PA=front", "data.views.PA"),
        ("data.pseudonym_key=3", "data.pseudonym_key"),
        ("data.tables=[]", "tables names no file"),
        ("data.columns.patient=", "columns.patient names no column"),
        ("data.slices.Ward=x", "data.slices"),
        ("data.slices.sex=x", "slices.sex: figures by sex are given anyway"),
        ("ingest.classes=[Fire]", "ingest.classes.0: input should be one of Water, Big heart"),
        ("data.labels.values={'1': maybe}", "data.labels.values.1: input should be"),
    ],
)
def test_mistakes_are_one_line_that_names_the_field(tmp_path, override, says):
    (tmp_path / "data.yaml").write_text(OWN)
    with pytest.raises(CxrflowError) as error:
        config.load("own", [override], tmp_path)
    assert says in str(error.value) and "\n" not in str(error.value)


def test_the_contract_takes_classes_and_groups_from_the_description(tmp_path):
    from google.protobuf import text_format

    (tmp_path / "data.yaml").write_text(OWN)
    data = config.load("own", [], tmp_path).data
    text = SCHEMA.read_text()
    made = text_format.Parse(contract(text, data), schema_pb2.Schema())
    domains = {domain.name: list(domain.value) for domain in made.string_domain}
    assert domains == {
        "sex": ["F", "M", "unknown"],
        "view": ["AP", "PA", "unknown"],
        "finding": ["Big heart", "Water"],
    }
    features = {feature.name: feature for feature in made.feature}
    assert features["slice/ward"].presence.min_fraction == 1.0
    assert features["findings"].value_count.max == 2
    assert features["patient/age"].int_domain.min == -1
    plain = text_format.Parse(text, schema_pb2.Schema())
    assert len(features) == len(plain.feature) + 1


def test_the_contract_knows_unknown_labels_where_a_value_is_ignored(tmp_path):
    from google.protobuf import text_format

    (tmp_path / "data.yaml").write_text(OWN)
    ignoring = config.load("own", ["data.labels.values={'1': positive, '': ignore}"], tmp_path)
    made = text_format.Parse(contract(SCHEMA.read_text(), ignoring.data), schema_pb2.Schema())
    (unknown,) = [feature for feature in made.feature if feature.name == "findings/unknown"]
    assert unknown.domain == "finding" and not unknown.HasField("presence")


@pytest.mark.tf
def test_further_groups_reach_transform_and_evaluator(tmp_path):
    from cxrflow.pipeline.data_nodes import further_slices

    (tmp_path / "data.yaml").write_text(OWN)
    assert further_slices(config.load("own", [], tmp_path)) == ("slice/ward",)
    assert further_slices(config.load("nih")) == ()


def test_the_next_command_names_the_description(tmp_path):
    data, mine = tmp_path / "data", tmp_path / "mine.yaml"
    data.mkdir()
    Image.new("L", (64, 64)).save(data / "a.png")
    (data / "t.csv").write_text("i,patient,Mass\na.png,P7,1\n")
    for more, says in (("--to", str(mine)), f"--set data={mine}"), ((), "--profile own"):
        said = CliRunner().invoke(app, ["data", "describe", str(data), *more])
        assert said.exit_code == 0 and said.output.splitlines()[-1].endswith(says)
    assert config.load("own", [f"data={mine}"], data).ingest.classes == ("Mass",)
    (data / "train.csv").write_text("Path,Enlarged Cardiomediastinum\na,1\n")
    (data / "valid.csv").write_text("Path,Enlarged Cardiomediastinum\na,1\n")
    said = CliRunner().invoke(app, ["data", "describe", str(data), "--to", str(tmp_path / "x")])
    assert said.output.splitlines()[-1].endswith("--set data=chexpert")
