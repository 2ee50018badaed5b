"""The compiled pipeline on Airflow, each node a task; `tests.bench engines` compares it.

Airflow comes from PyPI into an environment of its own, which has only the modules of cxrflow.
CXRFLOW_PROGRAM: what its tasks call instead of this Python's `-m cxrflow.pipeline.cli`.
"""

import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

from cxrflow.pipeline.cache_key import FOLDERS, ROOT
from tests.bench.programs import uv

AIRFLOW = "apache-airflow==2.11.2"


def install(folder: Path) -> Path:
    """Airflow's program, in a new environment of this Python. Raises Unavailable."""
    python = folder / "bin" / "python"
    uv("venv", "--python", sys.executable, str(folder))
    uv("pip", "install", "--python", str(python), AIRFLOW)
    return folder / "bin" / "airflow"


def run(airflow: Path, folder: Path, pipeline: Path) -> None:
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
