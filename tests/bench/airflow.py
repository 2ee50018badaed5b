"""The demo on Airflow, each node a task, against the same settings in `cxrflow run`.

    python -m tests.bench airflow

Airflow comes from PyPI into an environment of its own, which has only the modules of cxrflow.
CXRFLOW_PROGRAM: what its tasks call instead of this Python's `-m cxrflow.pipeline.cli`.
"""

import os
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from cxrflow.components.evaluate.verdict import FILE_NAME, read_verdict
from cxrflow.pipeline.cache_key import FOLDERS, ROOT
from cxrflow.pipeline.run import Run
from tests.bench.figure import figure, measure, skipped
from tests.e2e.test_pipeline import SMALL
from tests.support.run_kills import content, differences

AIRFLOW = "apache-airflow==2.11.2"
NAME = "airflow: files that differ from `cxrflow run`'s"


def main() -> Iterator[dict[str, Any]]:
    """Yields how many of the artifacts' files differ."""
    with tempfile.TemporaryDirectory(prefix="airflow-") as name:
        folder = Path(name)
        try:
            airflow = _environment(folder / "env")
        except (OSError, subprocess.CalledProcessError) as error:
            said = getattr(error, "stderr", "") or str(error)
            yield skipped(NAME, f"no {AIRFLOW} to be had: {' '.join(said.split())[-200:]}")
            return
        changes = {**SMALL, "train.deterministic": True}
        settings = [part for k, v in changes.items() for part in ("--set", f"{k}={v}")]
        alone, tasks = folder / "alone", folder / "tasks"
        cli = ("-m", "cxrflow.pipeline.cli")
        measure(*cli, "run", "--profile", "demo", "--root", str(alone), *settings)
        tasks.mkdir()
        for phantoms in alone.glob("phantoms-*"):
            shutil.copytree(phantoms, tasks / phantoms.name)  # with their times
        measure(*cli, "compile", "--profile", "demo", "--root", str(tasks), *settings)
        _run(airflow, folder, tasks / "pipeline.json")
        expected, run = Run.read(alone), Run.read(tasks)
        wrong = differences(content(alone), content(tasks))
        auc, expected_auc = (_mean_auc(one) for one in (run, expected))
        reached = not wrong and auc == expected_auc and run.executed == expected.executed
        yield figure(
            NAME, len(wrong), "0", reached, nodes=len(run.executed), files=len(content(tasks)),
            mean_auc=auc, mean_auc_of_run=expected_auc, differ=wrong[:20], version=AIRFLOW,
        )  # fmt: skip


def _mean_auc(run: Run) -> float:
    """Of the gate, on test."""
    return read_verdict(Path(run.artifacts["Gate"]["verdict"]) / FILE_NAME).mean_auc


def _environment(folder: Path) -> Path:
    """Airflow's program, in a new environment of this Python."""
    uv = shutil.which("uv", path=f"{Path(sys.executable).parent}:{os.environ['PATH']}") or "uv"
    python = folder / "bin" / "python"
    for arguments in (
        ("venv", "--python", sys.executable, str(folder)),
        ("pip", "install", "--python", str(python), AIRFLOW),
    ):
        subprocess.run([uv, *arguments], check=True, capture_output=True, text=True)
    return folder / "bin" / "airflow"


def _run(airflow: Path, folder: Path, pipeline: Path) -> None:
    """Runs the DAG as its author would try it; raises with Airflow's last words if it fails."""
    package, dags = folder / "package" / "cxrflow", folder / "dags"
    package.mkdir(parents=True)
    (package / "__init__.py").touch()
    for name in FOLDERS:
        (package / name).symlink_to(ROOT / name)
    dags.mkdir()
    shutil.copy(ROOT / "pipeline" / "runners" / "airflow.py", dags / "cxrflow_dag.py")
    own = shlex.join([sys.executable, "-m", "cxrflow.pipeline.cli"])
    environment = {
        **os.environ,
        "AIRFLOW_HOME": str(folder / "home"),
        "AIRFLOW__CORE__DAGS_FOLDER": str(dags),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "CXRFLOW_PIPELINE": str(pipeline),
        "CXRFLOW_PROGRAM": os.environ.get("CXRFLOW_PROGRAM", own),
        "PYTHONPATH": str(package.parent),
    }
    for arguments in (("db", "migrate"), ("dags", "test", "cxrflow", "2026-01-01")):
        done = subprocess.run(
            [airflow, *arguments], env=environment, capture_output=True, text=True, cwd=folder
        )
        if done.returncode:
            raise RuntimeError(f"airflow {arguments}: {(done.stdout + done.stderr)[-4000:]}")
