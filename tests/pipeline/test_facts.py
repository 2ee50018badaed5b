"""What is looked up before a pipeline is wired."""

from pathlib import Path

import pytest

from cxrflow.components.ingest.phantom import write_phantoms
from cxrflow.pipeline import config, facts
from cxrflow.schema.errors import CxrflowError

DOCKER = {"serving_check": {"kind": "infra_validator"}}


@pytest.fixture(scope="module")
def phantoms(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data") / "phantoms"
    write_phantoms(folder, 4, 0, 6.0, workers=1)
    return folder


def test_facts_of_a_new_root(phantoms: Path, tmp_path: Path) -> None:
    settings = config.load("demo")
    found = facts.gather(settings, phantoms, tmp_path)
    assert found.synthetic
    assert (found.published, found.published_edge) == ("", "")
    assert found.schema.read_bytes() == facts.SCHEMA.read_bytes()
    assert found.schema.is_relative_to(tmp_path)
    assert found == facts.gather(settings, phantoms, tmp_path)


def test_other_data_are_another_version(phantoms: Path, tmp_path: Path) -> None:
    settings = config.load("demo")
    before = facts.gather(settings, phantoms, tmp_path).data_version
    write_phantoms(tmp_path / "others", 4, 1, 6.0, workers=1)
    assert facts.gather(settings, tmp_path / "others", tmp_path).data_version != before


def test_docker_is_asked_for_only_where_it_is_needed(
    phantoms: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))  # no Docker there
    facts.gather(config.parse({}), phantoms, tmp_path / "root")
    with pytest.raises(CxrflowError, match="needs Docker"):
        facts.gather(config.parse(DOCKER), phantoms, tmp_path / "root")
    (tmp_path / "docker").write_text("#!/bin/sh\nexit 1\n")
    (tmp_path / "docker").chmod(0o755)
    with pytest.raises(CxrflowError, match="needs Docker"):
        facts.gather(config.parse(DOCKER), phantoms, tmp_path / "root")
    (tmp_path / "docker").write_text("#!/bin/sh\n")
    facts.gather(config.parse(DOCKER), phantoms, tmp_path / "root")


def test_boxes_are_those_of_the_data_folder_or_those_that_are_named(
    phantoms: Path, tmp_path: Path
) -> None:
    found = facts.gather(config.load("demo"), phantoms, tmp_path)
    assert found.boxes == str(phantoms / "BBox_List_2017.csv")
    other = tmp_path / "boxes.csv"
    other.write_text("Image Index,Finding Label,Bbox [x,y,w,h],,,\na.png,Mass,1,2,3,4,,,\n")
    named = facts.gather(config.load("demo", [f"localise.boxes={other}"]), phantoms, tmp_path)
    assert named.boxes == str(other) and named.boxes_version != found.boxes_version
    other.write_text("a,b\n1,2\n")
    with pytest.raises(CxrflowError, match="is no list of boxes"):
        facts.gather(config.load("demo", [f"localise.boxes={other}"]), phantoms, tmp_path)
