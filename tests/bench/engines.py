"""The demo's pipeline on other engines, against the same settings in `cxrflow run`.

    python -m tests.bench engines                 all of them
    python -m tests.bench.engines bucket          one: airflow, flink, workers, bucket, mariadb

airflow: each node a task. flink: data steps on a cluster of Apache Flink with two task managers and
two workers of `cxrflow workers`. workers: data steps on Beam's own job server, with two workers of
`cxrflow workers`. bucket: artifacts in a fake Google Cloud Storage. mariadb: three nodes at once,
with ML Metadata on a server. The runs are small ones.
"""

import json
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from cxrflow.pipeline.run import Run
from tests.bench import airflow, flink
from tests.bench.figure import figure, measure, skipped
from tests.bench.programs import Unavailable
from tests.e2e.test_pipeline import SMALL
from tests.support import beam_cluster, gcs, mariadb
from tests.support.same_run import differences

_CLI = ("-m", "cxrflow.pipeline.cli")


def on_airflow(folder: Path, root: Path) -> float:
    """See `airflow`; seconds without the making of its environment."""
    program = airflow.install(folder / "env")
    measure(*_CLI, "compile", *_arguments(root))
    started = time.monotonic()
    airflow.run(program, folder, root / "pipeline.json")
    return time.monotonic() - started


def on_workers(folder: Path, root: Path) -> float:
    """Runs it on two workers of a job server; returns the seconds once they are up."""
    cluster = beam_cluster.Cluster(folder)
    try:
        server, pool = cluster.job_server(), cluster.workers()
        args = beam_cluster.options(cluster.wait(server), cluster.wait(pool))
        return measure(*_CLI, "run", *_arguments(root, {"beam.args": args})).seconds
    finally:
        cluster.stop()


def on_flink(folder: Path, root: Path) -> float:
    """Runs it on a cluster of two task managers; returns the seconds once all is up."""
    engine = flink.Cluster(folder / "flink")
    cluster = beam_cluster.Cluster(folder)
    engine.folder.mkdir()
    engine.install()
    with ExitStack() as stack:
        stack.callback(engine.stop)
        stack.callback(cluster.stop)
        args = beam_cluster.options(engine.start(), cluster.wait(cluster.workers()))
        changes = {"beam.args": [*args, f"--parallelism={flink.MANAGERS}"]}
        return measure(*_CLI, "run", *_arguments(root, changes)).seconds


def in_bucket(folder: Path, root: Path) -> float:
    """All that nodes write; seconds."""
    with gcs.bucket(folder):
        uri = f"gs://{gcs.BUCKET}/demo"
        return measure(*_CLI, "run", *_arguments(root, {"storage.artifacts": uri})).seconds


def on_mariadb(folder: Path, root: Path) -> float:
    """Three nodes at once, in processes of their own, with ML Metadata on a server; seconds."""
    with mariadb.mariadb(folder / "server") as port, pytest.MonkeyPatch.context() as patch:
        patch.setenv("CXRFLOW_METADATA_PASSWORD", mariadb.PASSWORD)
        server = {"kind": "mariadb", "host": "127.0.0.1", "port": port, "user": mariadb.USER}
        changes = {f"metadata.{name}": value for name, value in server.items()}
        return measure(*_CLI, "run", "--jobs", "3", *_arguments(root, changes)).seconds


ENGINES: dict[str, Callable[[Path, Path], float]] = {
    "airflow": on_airflow,
    "flink": on_flink,
    "workers": on_workers,
    "bucket": in_bucket,
    "mariadb": on_mariadb,
}


def main(names: Iterable[str] = ENGINES) -> Iterator[dict[str, Any]]:
    """Yields for each engine how many of the artifacts' files differ, and the time it took."""
    with tempfile.TemporaryDirectory(prefix="engines-") as name:
        folder = Path(name)
        alone = folder / "alone"
        usual = measure(*_CLI, "run", *_arguments(alone)).seconds
        for engine in names:
            title = f"{engine}: files that differ from `cxrflow run`'s"
            root = folder / engine / "root"
            root.mkdir(parents=True)
            for phantoms in alone.glob("phantoms-*"):
                shutil.copytree(phantoms, root / phantoms.name)  # with their times
            try:
                seconds = ENGINES[engine](folder / engine, root)
            except (Unavailable, pytest.skip.Exception) as error:
                yield skipped(title, str(error))
                continue
            yield _compared(title, alone, root)
            took = f"{engine}: so many times as long as `cxrflow run`"
            yield figure(took, seconds / usual, "", True, seconds=[round(seconds), round(usual)])


def _arguments(root: Path, more: dict[str, Any] | None = None) -> list[str]:
    changes = {**SMALL, "train.deterministic": True, **(more or {})}
    settings = [part for k, v in changes.items() for part in ("--set", f"{k}={json.dumps(v)}")]
    return ["--profile", "demo", "--root", str(root), *settings]


def _compared(title: str, alone: Path, root: Path) -> dict[str, Any]:
    expected, run = Run.read(alone), Run.read(root)
    wrong = differences(alone, root)
    reached = not wrong and run.executed == expected.executed
    return figure(
        title, len(wrong), "0", reached, nodes=len(run.executed), differ=wrong[:20],
    )  # fmt: skip


if __name__ == "__main__":
    for found in main(sys.argv[1:] or ENGINES):
        print(json.dumps(found), flush=True)
