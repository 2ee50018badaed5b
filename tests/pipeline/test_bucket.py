"""A pipeline whose artifacts are in a bucket of a fake Google Cloud Storage."""

import json
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from cxrflow.components import storage
from cxrflow.components.shards import open_shards
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


class Flaky:
    """TFX's file systems, of which copies into a bucket break: the first so many."""

    def __init__(self, real: Any, breaks: int, error: Exception) -> None:
        self._real, self.breaks, self._error = real, breaks, error

    def __getattr__(self, name: str) -> Any:
        return getattr(self._real, name)

    def copy(self, source: str, target: str, overwrite: bool = False) -> None:
        if storage.is_remote(target) and self.breaks > 0:
            self.breaks -= 1
            raise self._error
        self._real.copy(source, target, overwrite=overwrite)


def break_copies(monkeypatch: pytest.MonkeyPatch, breaks: int, kind: str = "Aborted") -> Flaky:
    import tensorflow as tf
    from tfx.dsl.io import fileio

    flaky = Flaky(fileio, breaks, getattr(tf.errors, f"{kind}Error")(None, None, "broken pipe"))
    monkeypatch.setattr(storage, "_fileio", lambda: flaky)
    monkeypatch.setattr(storage, "_PAUSES_S", (0, 0))
    return flaky


def test_a_file_that_a_network_broke_is_put_again(root, bucket, monkeypatch):
    (root / "made").mkdir()
    (root / "made/one").write_text("1")
    flaky = break_copies(monkeypatch, 2)
    storage.put(root / "made", f"{URI}/Node/model/7")
    assert flaky.breaks == 0 and names(bucket) == ["Node/model/7/one"]


def test_what_breaks_for_good_is_one_line_and_no_right_is_not_tried_again(
    root, bucket, monkeypatch
):
    (root / "made").mkdir()
    (root / "made/one").write_text("1")
    for kind, tries, says in (("Aborted", 3, "broken pipe"), ("PermissionDenied", 1, "no right")):
        flaky = break_copies(monkeypatch, 99, kind)
        with pytest.raises(CxrflowError, match=f"/7 can't be written to: .*{says}") as refused:
            storage.put(root / "made", f"{URI}/Node/model/7")
        assert (99 - flaky.breaks, "\n" in str(refused.value)) == (tries, False)


def test_shards_of_a_root_that_was_deleted_are_not_left_beside_new_ones(root, bucket):
    """Numbers begin at 1 again, and a reader takes all files of a folder."""
    for of in (3, 2):
        made = root / f"made-{of}" / "Split-train"
        made.mkdir(parents=True)
        for number in range(of):
            (made / f"data-{number}-of-{of}").touch()
        storage.put(made.parent, f"{URI}/Node/examples/1")
        storage.put(made.parent, f"{URI}/Node/examples/11")
    new = [f"Split-train/data-{number}-of-2" for number in range(2)]
    assert names(bucket) == [f"Node/examples/{n}/{name}" for n in (1, 11) for name in new]


def test_a_step_whose_upload_failed_goes_on_from_its_shards(root, bucket, monkeypatch):
    from tests.support import tiny_pipeline as tiny

    written: list[str] = []

    def do(self: Any, input_dict: Any, output_dict: Any, exec_properties: Any) -> None:
        name = json.loads(exec_properties["settings"])["name"]
        (output,) = output_dict["text"]
        shards = open_shards(output.uri, ("tree",), name)
        for shard in ("Split-a/0", "Split-a/1"):
            if shards.note_if_whole(shard) is None:
                with shards.writing(shard) as ((file,), _):
                    Path(file).write_text(name)
                written.append(f"{name} {shard}")
        shards.hand_over({"tree": output.uri})

    monkeypatch.setattr(tiny.Executor, "Do", do)
    flaky = break_copies(monkeypatch, 99)
    with pytest.raises(CxrflowError, match=r"can't be written to: .*broken pipe"):
        run(root)
    assert written == ["Source Split-a/0", "Source Split-a/1"]
    flaky.breaks = 0
    run(root)
    shards = [f"{name} Split-a/{number}" for name in tiny.NODES for number in range(2)]
    assert sorted(written) == sorted(shards)  # each once
    put = [name for name in names(bucket) if name.startswith("Source/")]
    assert [name.rsplit("/", 2)[1:] for name in put] == [["Split-a", "0"], ["Split-a", "1"]]
    assert not list((root / "artifacts").rglob("unfinished"))


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
