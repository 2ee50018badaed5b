"""Beam's workers that are forked from a process which has loaded TensorFlow."""

import os
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from cxrflow.pipeline.config import parse, to_dict
from cxrflow.schema.errors import CxrflowError
from cxrflow.schema.files import held
from tests.support.processes import wait_until_ended

pytestmark = pytest.mark.tf


def written(folder: Path) -> dict[str, list[str]]:
    """By number, the process that wrote it, the folder that it worked in, and its Keras."""
    return {file.name: file.read_text().split() for file in folder.iterdir()}


def run_forked(root: Path, name: str) -> dict[str, list[str]]:
    """What Far wrote with two workers, as `cxrflow run --jobs 2` runs it."""
    from cxrflow.pipeline import dag, engines, parallel
    from cxrflow.pipeline.output import console_on
    from cxrflow.pipeline.run import inside
    from cxrflow.pipeline.terminal import NodeDisplay
    from tests.pipeline.test_dag import FACTS
    from tests.support import tiny_pipeline as tiny
    from tests.support.far_node import Far

    config = parse({"name": "far", "beam": {"workers": 2}})
    with inside(root):
        node = Far(tiny.TinySettings(name=name), "code-1")
        pipeline = dag.assemble(config, [node], Path(), FACTS)
        ir = engines.begin(pipeline, root, replace(tiny.ORIGIN, config=to_dict(config)))
        work = parallel.Work(ir.SerializeToString(), engines.upstream(ir), root, root / "logs")
        parallel.run(work, 2, NodeDisplay(console_on(sys.stderr), ["Far"]))
        return written(Path(engines.outputs(ir).artifacts["Far"]["text"]))


@pytest.mark.skipif(sys.platform != "linux", reason="forked workers need Linux")
def test_the_nursery_holds_no_lock_and_ends_with_its_owner(tmp_path: Path) -> None:
    from cxrflow.pipeline.beam_workers import Nursery

    lock = tmp_path / "lock"
    with held(lock, "it is taken", "wait"):
        nursery = Nursery()
    with held(lock, "it is taken", "wait"):
        nursery.close()
    with pytest.raises(ChildProcessError):
        os.waitpid(nursery.pid, 0)


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="forked workers need Linux")
def test_forked_workers_share_the_work_and_one_that_dies_is_told(tmp_path: Path) -> None:
    found = run_forked(tmp_path, "Far")
    assert set(found) == {"0", "1", "2", "3"}
    assert {folder for _, folder, _ in found.values()} == {str(tmp_path)}
    assert len({pid for pid, *_ in found.values()}) == 2
    log = (tmp_path / "logs" / "Far.log").read_text()
    assert "sdk_worker_main" not in log  # none was started anew
    with pytest.raises(CxrflowError, match=r"^a worker of Beam was killed: did it take too much"):
        run_forked(tmp_path, "Deadly")
    wait_until_ended(int(pid) for pid, *_ in found.values())
