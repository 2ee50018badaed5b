"""A pipeline whose artifacts are in a bucket of a fake Google Cloud Storage."""

import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from cxrflow.components import storage
from cxrflow.pipeline.config import parse
from cxrflow.pipeline.settings import StorageConfig
from cxrflow.schema.errors import CxrflowError
from tests.support import gcs

pytestmark = pytest.mark.tf

URI = f"gs://{gcs.BUCKET}/runs/one"


@pytest.fixture(scope="module")
def bucket(tmp_path_factory) -> Iterator[gcs.Bucket]:
    with gcs.bucket(tmp_path_factory.mktemp("google")) as served:
        yield served


@pytest.fixture
def root(tmp_path, bucket, monkeypatch) -> Path:
    bucket.wipe()
    monkeypatch.chdir(tmp_path)
    return tmp_path


def names(bucket: gcs.Bucket) -> list[str]:
    """Objects below URI."""
    return [name.removeprefix("runs/one/") for name in bucket.names()]


def run(root: Path, **how: Any) -> Any:
    from tests.support import tiny_pipeline

    config = replace(tiny_pipeline.TINY, storage=StorageConfig(artifacts=URI))
    return tiny_pipeline.run(root, config=config, **how)


def texts(found: Any, root: Path) -> dict[str, str]:
    return {n: (root / out["text"] / "text").read_text() for n, out in found.artifacts.items()}


def test_a_folder_is_put_and_fetched_with_what_is_in_it(root, bucket):
    uri = f"{URI}/Node/model/7"
    (root / "made/deep/er").mkdir(parents=True)
    (root / "made/empty").touch()
    (root / "made/deep/er/big").write_bytes(bytes(range(256)) * 40_000)
    storage.put(root / "made", uri)
    assert names(bucket) == ["Node/model/7/deep/er/big", "Node/model/7/empty"]

    folder = storage.fetch(uri)
    assert folder == Path("artifacts/Node/model/7")
    assert (folder / "deep/er/big").read_bytes() == (root / "made/deep/er/big").read_bytes()
    assert (folder / "empty").read_bytes() == b""
    (folder / "mine").touch()
    assert storage.fetch(uri) == folder
    assert (folder / "mine").exists()  # it wasn't fetched again
    assert storage.fetch("artifacts/Node/model/8") == Path("artifacts/Node/model/8")


def test_what_vanished_is_named_and_leaves_nothing(root):
    with pytest.raises(CxrflowError, match=rf"{URI}/Node/model/9 isn't there any more"):
        storage.fetch(f"{URI}/Node/model/9")
    assert not [p for p in Path("artifacts/Node/model").iterdir()]


def test_a_usable_bucket_is_left_as_it_was(root, bucket):
    storage.require_usable(URI)
    storage.require_usable("artifacts")
    assert names(bucket) == []


@pytest.mark.parametrize(
    ("uri", "says"),
    [
        (f"gs://{gcs.FORBIDDEN}/x", "account has no right to it; give it the role"),
        ("gs://no-such-bucket/x", "it isn't there; make the bucket"),
    ],
)
def test_a_bucket_that_cannot_be_used_is_one_line(root, uri, says):
    with pytest.raises(CxrflowError) as refused:
        storage.require_usable(uri)
    assert str(refused.value).startswith(f"{uri} can't be written to: ")
    assert says in str(refused.value)
    assert "\n" not in str(refused.value)


def test_a_run_in_a_bucket_gives_what_one_in_a_folder_gives(root, bucket):
    from tests.support import tiny_pipeline

    in_folder = tiny_pipeline.run((root / "folder").mkdir() or root / "folder")
    (root / "here").mkdir()
    found = run(root / "here")
    assert texts(found, root / "here") == texts(in_folder, root / "folder")
    assert found.executed == tiny_pipeline.NODES
    uris = [f"{node}/text/{number}/text" for number, node in enumerate(tiny_pipeline.NODES, 1)]
    assert names(bucket) == sorted(uris)
    assert not list((root / "here/artifacts").glob("*/.system"))
    for name in names(bucket):
        copy = (root / "here/artifacts" / name).read_bytes()
        assert bucket.content(f"runs/one/{name}") == copy

    assert run(root / "here").cached == tiny_pipeline.NODES


def test_a_node_fetches_what_another_machine_wrote(root, bucket):
    (root / "fail-Join").touch()
    with pytest.raises(CxrflowError, match="Join was told to fail"):
        run(root)
    (root / "fail-Join").unlink()
    assert not [name for name in names(bucket) if name.startswith("Join")]
    shutil.rmtree(root / "artifacts")  # as on another machine
    found = run(root)
    assert found.executed == ["Join"]
    # Only what Join reads was fetched.
    assert sorted(p.name for p in (root / "artifacts").iterdir() if p.is_dir()) == [
        *("Join", "Part.a", "Part.b", "Part.c"),
    ]
    assert texts(replace(found, artifacts={"Join": found.artifacts["Join"]}), root)["Join"]


def test_a_failing_node_leaves_nothing_in_either_place(root, bucket):
    (root / "fail-Source").touch()
    with pytest.raises(CxrflowError, match="Source was told to fail"):
        run(root)
    assert names(bucket) == []
    assert not [p for p in (root / "artifacts").rglob("*") if p.is_file()]


def test_what_a_killed_node_left_in_the_bucket_is_removed(root, bucket):
    (root / "made").mkdir()
    (root / "made/half").touch()
    storage.put(root / "made", f"{URI}/Source/text/4")
    storage.put(root / "made", f"{URI}/Source/text/14")
    storage.put(root / "made", f"{URI}/Source/.system/executor_execution/4")
    storage.remove_execution(URI, "Source", 4)
    assert names(bucket) == ["Source/text/14/half"]


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ("s3://b/x", r"storage\.artifacts: s3:// isn't read or written by TensorFlow 2\.21"),
        ("memory://x/y", r"storage\.artifacts: memory:// isn't read"),
        ("/mnt/runs", r"storage\.artifacts: name a bucket, gs://BUCKET/FOLDER"),
        ("gs://bucket", r"storage\.artifacts: write it as gs://BUCKET/FOLDER"),
        ("gs://bucket/a*", r"storage\.artifacts: write it as gs://BUCKET/FOLDER"),
    ],
)
def test_other_places_are_refused_by_name(given, says):
    with pytest.raises(CxrflowError, match=says) as refused:
        parse({"storage": {"artifacts": given}})
    assert "\n" not in str(refused.value)


def test_a_slash_at_the_end_is_none_of_the_name():
    assert parse({"storage": {"artifacts": "gs://bucket/a/"}}).storage.artifacts == "gs://bucket/a"
