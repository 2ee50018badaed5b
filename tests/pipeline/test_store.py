"""Paths of runs of earlier versions, made relative in ML Metadata."""

from pathlib import Path

import pytest
from ml_metadata.metadata_store import MetadataStore
from ml_metadata.proto import metadata_store_pb2 as proto

from cxrflow.pipeline.store import make_relative


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> MetadataStore:
    monkeypatch.chdir(tmp_path)
    config = proto.ConnectionConfig()
    config.sqlite.filename_uri = "metadata.sqlite"
    config.sqlite.connection_mode = proto.SqliteMetadataSourceConfig.READWRITE_OPENCREATE
    return MetadataStore(config)


def put(store: MetadataStore, *uris: str, **properties: str) -> list[int]:
    type_id = store.put_artifact_type(proto.ArtifactType(name="Thing"))
    artifacts = [proto.Artifact(type_id=type_id, uri=uri) for uri in uris]
    for name, text in properties.items():
        artifacts[0].custom_properties[name].string_value = text
    return store.put_artifacts(artifacts)


def test_paths_below_the_old_root_become_relative(store: MetadataStore) -> None:
    put(
        store,
        "/old/my root/artifacts/Trainer.a/model/5",
        "/elsewhere/model/5",
        pushed_destination="/old/my root/serving/cxr/17",
        named="my root",
    )
    make_relative(Path("metadata.sqlite"))
    first, second = store.get_artifacts()
    assert (first.uri, second.uri) == ("artifacts/Trainer.a/model/5", "/elsewhere/model/5")
    assert first.custom_properties["pushed_destination"].string_value == "serving/cxr/17"
    assert first.custom_properties["named"].string_value == "my root"


def test_relative_ones_are_left_alone(store: MetadataStore) -> None:
    """Their time of change is in the keys of the caches."""
    put(store, "artifacts/Trainer.a/model/5")
    before = store.get_artifacts()
    make_relative(Path("metadata.sqlite"))
    assert store.get_artifacts() == before


def test_without_a_store_there_is_nothing_to_do(tmp_path: Path) -> None:
    make_relative(tmp_path / "metadata.sqlite")
    assert not (tmp_path / "metadata.sqlite").exists()
