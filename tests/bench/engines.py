"""The demo's pipeline on other engines, against the same settings in `cxrflow run`.

Files must be equal: statistics, records, transformed examples, features, variables, scores, maps,
LiteRT models. So must all AUCs, and other metrics to the fifth digit: TFMA adds batches up in
float32, in the order in which its threads come.

    python -m tests.bench engines                 all of them
    python -m tests.bench.engines bucket          one: airflow, workers, bucket

airflow: each node a task. workers: data steps on Beam's own job server, with two workers of
`cxrflow workers`. bucket: artifacts in a fake Google Cloud Storage. The runs are small ones.
"""

import json
import math
import re
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from cxrflow.components.evaluate.verdict import FILE_NAME
from cxrflow.pipeline.run import Run
from tests.bench import airflow
from tests.bench.figure import figure, measure, skipped
from tests.e2e.test_pipeline import SMALL
from tests.support import beam_cluster, gcs
from tests.support.run_kills import content, differences

# TFMA's files, for which verdicts are compared, and what holds their figures, hashes or times; a
# graph names its parts by what was built before in the process.
_ALIKE = re.compile(
    r"(attributions|metrics|plots)-\d+-of-|eval_config\.json|verdict\.json|model_card\.(md|html)"
    r"|metadata\.json|manifest\.json|parity_report\.json|frozen_graph\.pb|model\.onnx\.xz"
)
_NEAR = 1e-5  # of numbers in verdicts, relative

_CLI = ("-m", "cxrflow.pipeline.cli")


def on_airflow(folder: Path, root: Path) -> None:
    """See `airflow`."""
    program = airflow.install(folder / "env")
    measure(*_CLI, "compile", *_arguments(root))
    airflow.run(program, folder, root / "pipeline.json")


def on_workers(folder: Path, root: Path) -> None:
    """Of two, in processes that a job server gives work to."""
    cluster = beam_cluster.Cluster(folder)
    try:
        server, pool = cluster.job_server(), cluster.workers()
        args = beam_cluster.options(cluster.wait(server), cluster.wait(pool))
        measure(*_CLI, "run", *_arguments(root, {"beam.args": args}))
    finally:
        cluster.stop()


def in_bucket(folder: Path, root: Path) -> None:
    """All that nodes write."""
    with gcs.bucket(folder):
        uri = f"gs://{gcs.BUCKET}/demo"
        measure(*_CLI, "run", *_arguments(root, {"storage.artifacts": uri}))


ENGINES: dict[str, Callable[[Path, Path], None]] = {
    "airflow": on_airflow,
    "workers": on_workers,
    "bucket": in_bucket,
}


def main(names: Iterable[str] = ENGINES) -> Iterator[dict[str, Any]]:
    """Yields for each engine how many of the artifacts' files differ."""
    with tempfile.TemporaryDirectory(prefix="engines-") as name:
        folder = Path(name)
        alone = folder / "alone"
        measure(*_CLI, "run", *_arguments(alone))
        for engine in names:
            title = f"{engine}: files that differ from `cxrflow run`'s"
            root = folder / engine / "root"
            root.mkdir(parents=True)
            for phantoms in alone.glob("phantoms-*"):
                shutil.copytree(phantoms, root / phantoms.name)  # with their times
            try:
                ENGINES[engine](folder / engine, root)
            except airflow.Unavailable as error:
                yield skipped(title, str(error))
                continue
            yield _compared(title, alone, root)


def _arguments(root: Path, more: dict[str, Any] | None = None) -> list[str]:
    changes = {**SMALL, "train.deterministic": True, **(more or {})}
    settings = [part for k, v in changes.items() for part in ("--set", f"{k}={json.dumps(v)}")]
    return ["--profile", "demo", "--root", str(root), *settings]


def _compared(title: str, alone: Path, root: Path) -> dict[str, Any]:
    expected, run = Run.read(alone), Run.read(root)
    different = differences(content(alone), content(root))
    wrong = [one for one in different if not _ALIKE.search(one)]
    far = [where for node in expected.artifacts for where in _far(node, expected, run)]
    reached = not wrong and not far and run.executed == expected.executed
    return figure(
        title, len(wrong), "0", reached, nodes=len(run.executed), files=len(content(root)),
        differ=wrong[:20], metrics_that_differ=far[:20],
    )  # fmt: skip


def _far(node: str, expected: Run, run: Run) -> Iterator[str]:
    """Numbers of a gate's verdict that differ: AUCs at all, others by more than _NEAR."""
    if "verdict" not in expected.artifacts[node]:
        return
    one, other = (_numbers(Path(r.artifacts[node]["verdict"], FILE_NAME)) for r in (expected, run))
    for where in sorted(one.keys() | other.keys()):
        a, b = one.get(where, math.nan), other.get(where, math.nan)
        if not (a == b if "auc" in where else math.isclose(a, b, rel_tol=_NEAR, abs_tol=_NEAR)):
            yield f"{node}: {where}: {a}, {b}"


def _numbers(path: Path) -> dict[str, float]:
    """Of a JSON file, by where they stand in it."""
    found: dict[str, float] = {}

    def look(value: Any, where: str) -> None:
        if isinstance(value, dict):
            for name, inner in value.items():
                look(inner, f"{where}/{name}")
        elif isinstance(value, list):
            for number, inner in enumerate(value):
                look(inner, f"{where}/{number}")
        elif isinstance(value, int | float):
            found[where] = value

    look(json.loads(path.read_text()), "")
    return found


if __name__ == "__main__":
    for found in main(sys.argv[1:] or ENGINES):
        print(json.dumps(found), flush=True)
