"""Files for Slurm, Kubernetes, Kubeflow and Airflow: run with programs that stand in for theirs."""

import json
import os
import stat
import subprocess
import sys
import types
from pathlib import Path

import pytest
import yaml

from cxrflow.pipeline.cluster import ClusterConfig, Resources
from cxrflow.pipeline.config import parse
from cxrflow.pipeline.graph import Graph
from cxrflow.pipeline.runners import clusters, kubernetes
from cxrflow.pipeline.runners.commands import object_name, own_program
from cxrflow.schema.errors import CxrflowError

UPSTREAM = {
    "Transform": (),
    "Trainer.a_b": ("Transform",),
    "Trainer.c": ("Transform",),
    "Ensemble": ("Trainer.a_b", "Trainer.c"),
}
CONFIG = ClusterConfig(
    nodes={"Trainer": Resources(cpus=4, memory_gb=16, gpus=1, queue="gpu")}, mount="/"
)


@pytest.fixture
def graph(tmp_path: Path) -> Graph:
    return Graph("cxr", str(tmp_path / "a root"), UPSTREAM)


def program(folder: Path, name: str, text: str) -> None:
    """An executable in `folder`."""
    folder.mkdir(exist_ok=True)
    file = folder / name
    file.write_text(text)
    file.chmod(file.stat().st_mode | stat.S_IXUSR)


def bash(script: str, folder: Path, *args: str) -> subprocess.CompletedProcess[str]:
    """Runs a script with the programs of `folder` before others."""
    return subprocess.run(
        ["bash", script, *args],
        capture_output=True,
        text=True,
        env={**os.environ, "PATH": f"{folder}:{os.environ['PATH']}", "CALLS": str(folder)},
        timeout=60,
    )


def lines(file: Path) -> list[list[str]]:
    return [json.loads(line) for line in file.read_text().splitlines()]


RECORDING = f"""#!{sys.executable}
import json, os, sys
calls = os.environ["CALLS"] + "/calls"
number = len(open(calls).readlines()) if os.path.exists(calls) else 0
open(calls, "a").write(json.dumps(sys.argv[1:]) + "\\n")
"""


def test_what_a_node_gets() -> None:
    config = parse(
        {"cluster": {"nodes": {"Trainer": {"gpus": 2}, "Trainer.x": {"cpus": 9}}}}
    ).cluster
    assert config.of("Trainer.y") == Resources(gpus=2)
    assert config.of("Trainer.x") == Resources(cpus=9)
    assert config.of("Transform") == Resources()
    assert parse({}).cluster.of("Trainer.y").gpus == 1
    with pytest.raises(CxrflowError, match=r"cluster\.nodes\.Trainer\.gpus"):
        parse({"cluster": {"nodes": {"Trainer": {"gpus": -1}}}})


def test_slurm_jobs_come_after_those_they_need(graph: Graph, tmp_path: Path) -> None:
    file = tmp_path / "it's a file.json"
    (next_command,) = clusters.write("slurm", graph, CONFIG, file)
    script = file.with_suffix(".slurm.sh")
    assert next_command.startswith("bash ")
    program(tmp_path / "bin", "sbatch", RECORDING + 'print(f"{100 + number};cluster")\n')
    done = bash(str(script), tmp_path / "bin", "my-run")
    assert done.returncode == 0, done.stderr
    assert "Ensemble: job 103\nrun my-run" in done.stdout
    calls = lines(tmp_path / "bin" / "calls")
    after = [[word for word in call if "dependency" in word] for call in calls]
    assert after == [
        [],
        ["--dependency=afterok:100"],
        ["--dependency=afterok:100"],
        ["--dependency=afterok:101:102"],
    ]
    first, trainer = calls[0], calls[1]
    assert {"--cpus-per-task=2", "--mem=8G", "--job-name=cxr.Transform"} <= set(first)
    assert {"--cpus-per-task=4", "--mem=16G", "--gres=gpu:1", "--partition=gpu"} <= set(trainer)
    # What a job's shell makes of the command.
    shown = subprocess.run(
        ["bash", "-c", f'for word in {trainer[-1]}; do echo "$word"; done'],
        capture_output=True,
        text=True,
        env={**os.environ, "run_id": "my-run"},
    ).stdout.splitlines()
    wanted = ["node", "--pipeline", str(file), "--run-id", "my-run", "--verbose", "Trainer.a_b"]
    assert shown == [*own_program(), *wanted]


def test_slurm_that_refuses_ends_the_script(graph: Graph, tmp_path: Path) -> None:
    file = tmp_path / "pipeline.json"
    clusters.write("slurm", graph, CONFIG, file)
    program(tmp_path / "bin", "sbatch", RECORDING + 'sys.exit("no such partition")\n')
    done = bash(str(file.with_suffix(".slurm.sh")), tmp_path / "bin")
    assert done.returncode == 1 and "no such partition" in done.stderr
    assert len(lines(tmp_path / "bin" / "calls")) == 1


# Jobs that are let go are complete the next time that somebody looks, but for those that fail.
KUBECTL = (
    RECORDING
    + """
state = os.environ["CALLS"] + "/state.json"
jobs = json.load(open(state)) if os.path.exists(state) else {}
if "create" in sys.argv:
    import yaml
    jobs = {job["metadata"]["name"]: "Suspended" for job in
            yaml.safe_load_all(open(sys.argv[-1]))}
if "patch" in sys.argv:
    jobs[sys.argv[3]] = "Failed" if os.environ.get("FAIL", "-") in sys.argv[3] else "Complete"
if sys.argv[1:3] == ["get", "jobs"]:
    print(*(f"{name} {condition}" for name, condition in jobs.items()), sep="\\n")
if sys.argv[1:3] == ["get", "--filename"] and not jobs:
    sys.exit(1)
json.dump(jobs, open(state, "w"))
"""
)


@pytest.mark.parametrize("fails", ["", "trainer-c"])
def test_kubernetes_jobs_are_let_go_in_order(
    graph: Graph, tmp_path: Path, fails: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "pipeline.json"
    clusters.write("kubernetes", graph, CONFIG, file, "Run+7")
    program(tmp_path / "bin", "kubectl", KUBECTL)
    monkeypatch.setenv("SECONDS_BETWEEN", "0")
    monkeypatch.setenv("FAIL", fails or "none of them")
    for _ in range(2):  # the second time it goes on
        done = bash(str(file.with_suffix(".kubernetes.sh")), tmp_path / "bin")
    calls = lines(tmp_path / "bin" / "calls")
    assert sum("create" in call for call in calls) == 1
    let_go = [call[2] for call in calls if call[0] == "patch"]
    if fails:
        assert done.returncode == 1
        assert done.stderr == "cxr-run-7-trainer-c failed: kubectl logs job/cxr-run-7-trainer-c\n"
        assert "cxr-run-7-ensemble" not in let_go
        return
    assert done.returncode == 0, done.stderr
    assert [calls[-1][0], calls[-1][-1]] == ["wait", "job/cxr-run-7-ensemble"]
    once = let_go[:4]
    assert once[0] == "cxr-run-7-transform" and once[3] == "cxr-run-7-ensemble"
    assert set(once[1:3]) == {"cxr-run-7-trainer-a-b", "cxr-run-7-trainer-c"}


def test_kubernetes_takes_each_job(graph: Graph) -> None:
    from tests.serving.test_deploy import strict

    jobs = [*yaml.safe_load_all(kubernetes.jobs(graph, CONFIG, Path("/r/p.json"), "1"))]
    assert [job["metadata"]["name"] for job in jobs] == [
        "cxr-1-transform",
        "cxr-1-trainer-a-b",
        "cxr-1-trainer-c",
        "cxr-1-ensemble",
    ]
    for job in jobs:
        strict(job, "V1Job", "job")
    (container,) = jobs[1]["spec"]["template"]["spec"]["containers"]
    assert container["resources"]["limits"] == {
        "cpu": "4",
        "memory": "16Gi",
        "nvidia.com/gpu": "1",
    }
    assert container["command"][:2] == ["cxrflow", "node"]


@pytest.mark.parametrize(
    ("parts", "name"),
    [
        (
            ("cxrflow", "2026-11-26T07:00+1", "Trainer.a_b"),
            "cxrflow-2026-11-26t07-00-1-trainer-a-b",
        ),
        (("a" * 63,), "a" * 63),
    ],
)
def test_names_that_kubernetes_takes(parts: tuple[str, ...], name: str) -> None:
    assert object_name(*parts) == name
    with pytest.raises(CxrflowError, match="longer than the 63 characters"):
        object_name("b" * 64)


def test_kubeflow_specification_is_taken_by_kfp(graph: Graph, tmp_path: Path) -> None:
    if not _has("kfp"):
        pytest.skip("no kfp here")
    from kfp.components import load_component_from_file

    file = tmp_path / "pipeline.json"
    clusters.write("kubeflow", graph, CONFIG, file, "r1")
    written = file.with_suffix(".kubeflow.yaml")
    load_component_from_file(str(written))
    specification, platform = yaml.safe_load_all(written.read_text())
    tasks = specification["root"]["dag"]["tasks"]
    after = {name: sorted(task.get("dependentTasks", [])) for name, task in tasks.items()}
    assert after == {
        "transform": [],
        "trainer-a-b": ["transform"],
        "trainer-c": ["transform"],
        "ensemble": ["trainer-a-b", "trainer-c"],
    }
    containers = {
        name: executor["container"]
        for name, executor in specification["deploymentSpec"]["executors"].items()
    }
    trainer = containers["exec-trainer-a-b"]
    assert trainer["command"][-1] == "Trainer.a_b"
    assert "{{$.inputs.parameters['run_id']}}" in trainer["command"]
    accelerator = trainer["resources"]["accelerator"]
    assert (accelerator["resourceCount"], accelerator["resourceType"]) == ("1", "nvidia.com/gpu")
    mounted = platform["platforms"]["kubernetes"]["deploymentSpec"]["executors"]
    assert len(mounted) == 4


def _has(package: str) -> bool:
    import importlib.util

    return importlib.util.find_spec(package) is not None


class _Operator:
    """Stands in for Airflow's."""

    def __init__(self, task_id: str, **settings: object) -> None:
        self.task_id, self.settings, self.before = task_id, settings, []

    def __rshift__(self, other: "_Operator") -> None:
        other.before.append(self.task_id)


def test_airflow_gets_a_task_for_each_node(tmp_path: Path, monkeypatch) -> None:
    made: list[_Operator] = []

    def operator(**settings: object) -> _Operator:
        made.append(_Operator(**settings))
        return made[-1]

    fakes = {
        "airflow": types.SimpleNamespace(DAG=lambda **settings: settings),
        "airflow.operators": types.ModuleType("airflow.operators"),
        "airflow.operators.bash": types.SimpleNamespace(BashOperator=operator),
    }
    for name, module in fakes.items():
        monkeypatch.setitem(sys.modules, name, module)
    nodes = [
        {"pipelineNode": {"nodeInfo": {"id": node}, "upstreamNodes": list(before)}}
        for node, before in UPSTREAM.items()
    ]
    settings = {"cluster": {"nodes": {"Trainer": {"queue": "gpu"}}}}
    beside = {"value": json.dumps({"config": settings, "data_dir": "data"})}
    root = {"runtimeParameter": {"defaultValue": {"stringValue": "/r/artifacts"}}}
    ir = {
        "pipelineInfo": {"id": "cxr"},
        "nodes": nodes,
        "runtimeSpec": {"pipelineRoot": root},
        "deploymentConfig": {"pipelineLevelPlatformConfig": beside},
    }
    file = tmp_path / "a pipeline.json"
    file.write_text(json.dumps(ir))
    from cxrflow.pipeline.runners import airflow

    assert airflow.make(file, "python -m cxrflow.pipeline.cli")["dag_id"] == "cxr"
    assert {task.task_id: tuple(task.before) for task in made} == UPSTREAM
    assert [task.settings.get("queue") for task in made] == [None, "gpu", "gpu", None]
    assert made[1].settings["bash_command"] == (
        f"python -m cxrflow.pipeline.cli node --pipeline '{file}' --run-id {{{{ run_id }}}} "
        "--verbose Trainer.a_b"
    )
    sys.modules.pop("cxrflow.pipeline.runners.airflow")
