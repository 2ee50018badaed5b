"""What `cxrflow compile --engine` writes beside the pipeline, and what to do with it."""

import shlex
from datetime import datetime
from pathlib import Path

from cxrflow.pipeline import extras
from cxrflow.pipeline.cluster import ClusterConfig
from cxrflow.pipeline.graph import Graph
from cxrflow.pipeline.nodes import require_run_id
from cxrflow.pipeline.runners import kubeflow, kubernetes, slurm
from cxrflow.schema.errors import CxrflowError, did_you_mean
from cxrflow.schema.files import write_whole

ENGINES = ("slurm", "kubernetes", "kubeflow")


def require(engine: str, run_id: str) -> None:
    """Checks what can be checked before the pipeline is compiled.

    Raises:
        CxrflowError: the engine isn't known, its packages aren't installed, or that is no run's id.
    """
    if engine and engine not in ENGINES:
        similar = did_you_mean(engine, ENGINES)
        raise CxrflowError(f"--engine {engine}{similar}: name one of {', '.join(ENGINES)}")
    if engine == "kubeflow":
        extras.require("kfp", "kubeflow")
        extras.require("kfp.kubernetes", "kubeflow")
    if run_id:
        require_run_id(run_id)


def require_visible(
    engine: str, config: ClusterConfig, root: Path, file: Path, data_dir: Path | None
) -> None:
    """Refuses folders that an engine's containers wouldn't see.

    Raises:
        CxrflowError: one of them doesn't lie below `cluster.mount`.
    """
    if engine not in ("kubernetes", "kubeflow"):
        return
    for option, path in (("root", root), ("output", file), ("data", data_dir)):
        if path is not None and not path.resolve().is_relative_to(config.mount):
            raise CxrflowError(
                f"--{option} {path} isn't below {config.mount}, where the containers see the "
                "volume: put it there, or set cluster.mount"
            )


def write(
    engine: str, graph: Graph, config: ClusterConfig, file: Path, run_id: str = ""
) -> list[str]:
    """Writes the engine's files beside the compiled pipeline; returns the commands to type next."""
    script = file.with_suffix(f".{engine}.sh")
    if engine == "slurm":
        write_whole(script, slurm.script(graph, config, file, script))
        return [shlex.join(["bash", str(script)])]
    if engine == "kubernetes":
        run_id = run_id or f"{datetime.now():%Y%m%d-%H%M%S}"
        jobs = file.with_suffix(".kubernetes.yaml")
        write_whole(jobs, kubernetes.jobs(graph, config, file, run_id))
        write_whole(script, kubernetes.script(graph, run_id, script, jobs))
        return [shlex.join(["bash", str(script)])]
    if engine == "kubeflow":
        specification = file.with_suffix(".kubeflow.yaml")
        kubeflow.write(graph, config, file, run_id, specification)
        return [f"{specification}: upload it to Kubeflow Pipelines, or kfp run create"]
    return []
