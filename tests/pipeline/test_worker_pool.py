"""Data steps on Beam workers in other processes: the same results, and what goes wrong there."""

import csv
import operator
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, replace
from multiprocessing.connection import Connection
from pathlib import Path

import pytest
from PIL import Image

from cxrflow.pipeline.beam_failures import explained
from cxrflow.pipeline.config import parse, to_dict
from cxrflow.schema.classes import DEFAULT_CLASSES
from cxrflow.schema.errors import CxrflowError
from tests.components.ingest.conftest import HEADER
from tests.support import beam_cluster
from tests.support.beam_cluster import Cluster
from tests.support.ports import refusing_port

pytestmark = [pytest.mark.tf, pytest.mark.slow, pytest.mark.timeout(1200)]


@pytest.fixture(autouse=True)
def plain_command(monkeypatch: pytest.MonkeyPatch) -> None:
    """TFX takes the command's options for its own as it starts a step on Beam; pytest has a -v."""
    monkeypatch.setattr("sys.argv", ["cxrflow"])


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    made = Cluster(tmp_path_factory.mktemp("cluster"))
    yield made
    made.stop()


@pytest.fixture(scope="module")
def started(cluster: Cluster) -> tuple[int, int]:
    """The ports of a job server and of a pool, which may not listen yet."""
    return cluster.job_server(), cluster.workers()


@pytest.fixture(scope="module")
def job_server(cluster: Cluster, started: tuple[int, int]) -> int:
    return cluster.wait(started[0])


@pytest.fixture(scope="module")
def two_workers(cluster: Cluster, started: tuple[int, int], job_server: int) -> list[str]:
    """Options of Beam."""
    return beam_cluster.options(job_server, cluster.wait(started[1]))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data folder of 48 small images, one of them broken."""
    data = tmp_path_factory.mktemp("data")
    (data / "images").mkdir()
    with (data / "Data_Entry_2017.csv").open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(HEADER)
        for i in range(1, 49):
            name, finding = f"{i:08d}_000.png", ["No Finding", *DEFAULT_CLASSES][i % 14]
            who = [i, 20 + i, "FM"[i % 2], ("PA", "AP")[i % 3 == 0]]
            table.writerow([name, finding, 0, *who, 64, 64])
            Image.linear_gradient("L").rotate(i).resize((64, 64)).save(data / "images" / name)
    (data / "images" / "00000007_000.png").write_bytes(b"no image")
    return data


def begins(control: str, name: str, told: Connection) -> None:
    """A worker that has nothing to do."""
    told.send(None)


def test_a_worker_that_ends_at_once_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """Flink waited for it for ever: cxrflow was another one than when the pool had started."""
    from apache_beam.portability.api import beam_fn_api_pb2 as api

    from cxrflow.pipeline import worker_pool

    monkeypatch.setattr(worker_pool, "PRELOADED", [])
    monkeypatch.setattr(worker_pool, "_HARNESS", "json")
    monkeypatch.setattr(worker_pool, "_work", operator.truediv)  # of these: a TypeError
    pool = worker_pool.Pool()
    answer = pool.StartWorker(api.StartWorkerRequest(worker_id="1-1"), None)
    assert answer.error.startswith("a worker ended at once, the log of `cxrflow workers` says why")
    monkeypatch.setattr(worker_pool, "_work", begins)
    assert not pool.StartWorker(api.StartWorkerRequest(worker_id="1-2"), None).error


@pytest.fixture
def far(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Runs a plain node; what its workers wrote: the process and its folder, by element."""
    from cxrflow.pipeline import dag, engines
    from tests.pipeline.test_dag import FACTS
    from tests.support import tiny_pipeline as tiny
    from tests.support.far_node import Far

    def run(beam: list[str]) -> dict[str, list[str]]:
        root = tmp_path / "root"
        root.mkdir()
        monkeypatch.chdir(root)
        config = parse({"name": "far", "beam": {"args": beam}})
        node = Far(tiny.TinySettings(name="Far"), "code-1")
        pipeline = dag.assemble(config, [node], Path(), FACTS)
        ir = engines.begin(pipeline, root, replace(tiny.ORIGIN, config=to_dict(config)))
        engines.run_node(ir, "Far")
        uri = engines.outputs(ir).artifacts["Far"]["text"]
        assert uri == "artifacts/Far/text/1"  # relative, as without such workers
        return {file.name: file.read_text().split() for file in (root / uri).iterdir()}

    return run


def test_every_data_step_gives_the_same_on_two_workers(
    started: tuple[int, int], folder: Path, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    from tests.support import beam_run

    here = beam_run.run(tmp_path / "here", folder)  # meanwhile the workers load TensorFlow
    there = beam_run.run(tmp_path / "there", folder, request.getfixturevalue("two_workers"))
    for name in ("raw", "light", "statistics", "transformed"):
        assert getattr(there, name) == getattr(here, name), name
    # Other batches, in which a float32's last digit may be another.
    assert there.evaluations == pytest.approx(here.evaluations, rel=1e-6, nan_ok=True)
    assert len(here.raw) == 3 and sum(map(len, here.raw.values())) == 47
    assert {key.split()[0] for key in here.evaluations} == {"Evaluator.member", "Evaluator"}


def test_workers_write_into_the_root_with_the_settings_of_a_run(
    two_workers: list[str], far
) -> None:
    written = far(two_workers)
    assert set(written) == {"0", "1", "2", "3"}
    assert {folder for _, folder, _ in written.values()} == {"/"}
    assert str(os.getpid()) not in {pid for pid, _, _ in written.values()}
    assert {keras for _, _, keras in written.values()} == {"0"}  # its pool was started without


def test_no_workers_where_some_should_be(job_server: int, far) -> None:
    with refusing_port() as pool:
        nobody = f"nobody answers Beam at .*:{pool}: start the workers"
        with pytest.raises(CxrflowError, match=nobody):
            far(beam_cluster.options(job_server, pool))


INGEST = {
    **asdict(parse({}).ingest),
    "eval_share": 0.3,
    "test_share": 0.3,
    "max_bad_share": 0.05,
}


def ingested(
    data: Path, root: Path, args: Sequence[str] = ("--runner=FnApiRunner",)
) -> dict[str, bytes]:
    """What ImageExampleGen wrote, by file; nothing else may be left."""
    from tests.support import data_steps

    examples, records, quarantine = data_steps.ingest(data, INGEST, root, beam=args)
    files = [path for path in (root / "ImageExampleGen").rglob("*") if path.is_file()]
    uris = [artifact.uri for artifact in (examples, records, quarantine)]
    assert all(any(path.is_relative_to(uri) for uri in uris) for path in files), files
    return {str(path.relative_to(root)): path.read_bytes() for path in files}


def test_a_worker_without_the_project(
    cluster: Cluster, job_server: int, folder: Path, tmp_path: Path
) -> None:
    pool = cluster.wait(cluster.bare_workers(without_project=True))
    with pytest.raises(RuntimeError) as raised:
        ingested(folder, tmp_path / "root", beam_cluster.options(job_server, pool, count=1))
    line = str(explained(raised.value))
    assert line.startswith("a Beam worker can't import a module (No module named 'cxrflow")


def test_a_worker_that_sees_no_data(
    two_workers: list[str], folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from cxrflow.pipeline.one_line import as_one_line

    monkeypatch.chdir(folder.parent)
    here = Path("/proc/self/cwd", folder.name)  # each process has a folder of its own there
    log = tmp_path / "log"
    log.touch()
    with pytest.raises(Exception) as raised:
        ingested(here, tmp_path / "root", two_workers)
    line = str(as_one_line(raised.value, tmp_path, log))
    assert f"sees no folder {here}" in line and "at the same paths" in line


@pytest.fixture
def whole(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, bytes]:
    """What an unbroken run writes, in several shards."""
    from cxrflow.components.ingest import executor

    monkeypatch.setattr(executor, "_SHARD", 8)
    return ingested(folder, tmp_path / "whole")


def test_a_bundle_that_breaks_is_tried_again(
    folder: Path, whole: dict[str, bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from cxrflow.components.ingest import executor
    from tests.support import attempts

    monkeypatch.setattr(executor, "_WriteShard", attempts.Breaking)
    # This runner tries a bundle four times, as Flink and Dataflow may.
    args = ["--runner=BundleBasedDirectRunner"]
    assert ingested(folder, tmp_path / "tried", args) == whole
    assert len(attempts.stopped(tmp_path / "tried")) == attempts.Breaking.most


def test_two_attempts_at_once(
    folder: Path, whole: dict[str, bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from cxrflow.components.ingest import executor
    from cxrflow.components.ingest.plan import limits, make_plan
    from cxrflow.components.shards import open_shards
    from tests.support import attempts

    plan = make_plan(str(folder), INGEST)
    shards = open_shards(str(tmp_path / "examples" / "7"), ("examples", "records"), "now")
    planned = list(executor.make_shards(plan))
    with ThreadPoolExecutor(2) as threads:
        for shard in planned:
            workers = [attempts.Meeting(plan, shards, limits(INGEST)) for _ in range(2)]
            for ended in [threads.submit(worker.process, shard) for worker in workers]:
                ended.result()
    assert all(shards.note_if_whole(shard.name) is not None for shard in planned)
    shards.hand_over({tree: str(tmp_path / tree / "7") for tree in shards.trees})
    found = {
        f"ImageExampleGen/{path.relative_to(tmp_path)}": path.read_bytes()
        for tree in shards.trees
        for path in (tmp_path / tree).rglob("data_tfrecord*")
    }
    assert found == {name: data for name, data in whole.items() if "quarantine" not in name}


def test_a_worker_that_is_killed_half_way(
    cluster: Cluster,
    two_workers: list[str],
    folder: Path,
    whole: dict[str, bytes],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from cxrflow.components.ingest import executor
    from tests.support import attempts

    pool, root = int(two_workers[3].rpartition(":")[2]), tmp_path / "root"
    server = cluster.wait(cluster.job_server())
    with monkeypatch.context() as patch, ThreadPoolExecutor(1) as thread:
        patch.setattr(executor, "_WriteShard", attempts.Dying)
        run = thread.submit(ingested, folder, root, beam_cluster.options(server, pool))
        attempts.wait_for_stop(root, run)
        cluster.kill(server)  # Beam's own would wait for the dead worker for ever
        with pytest.raises(Exception, match=r"(?i)unavailable|socket|connect"):
            run.result()
    assert [*root.rglob("unfinished/*/attempts/*")]
    assert ingested(folder, root, two_workers) == whole  # the same command again
