"""What a node's executor leaves is on the disk before ML Metadata says that it is there."""

import types
from pathlib import Path

import pytest

from tests.support.disk import synced_paths

pytestmark = pytest.mark.tf


def test_a_nodes_outputs_are_synced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from cxrflow.pipeline.operators import on_copies

    monkeypatch.chdir(tmp_path)
    synced = synced_paths(monkeypatch)
    artifacts = [types.SimpleNamespace(uri=f"artifacts/Node/{key}/7") for key in ("a", "never")]
    info = types.SimpleNamespace(input_dict={}, output_dict={"both": artifacts})

    def run(_: object) -> str:
        shard = Path(artifacts[0].uri, "Split-train", "data")
        shard.parent.mkdir(parents=True)
        shard.write_text("x")
        (shard.parent / "link").symlink_to("nowhere")
        assert not synced
        return "output"

    assert on_copies(info, run) == "output"
    folder = tmp_path / "artifacts" / "Node" / "a" / "7"
    below = [folder / "Split-train" / "data", folder / "Split-train", folder, folder.parent]
    assert synced == below
