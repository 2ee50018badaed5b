"""Files for Slurm, Kubernetes, Kubeflow and Airflow: run with programs that stand in for theirs."""

import hashlib
import json
import os
import re
import stat
import subprocess
import sys
import types
from dataclasses import replace
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
    # What a job's shell makes of the command, without the variables of whoever submitted it.
    named, _, command = trainer[-1].partition("; ")
    shown = subprocess.run(
        ["sh", "-c", f'{named}; for word in {command}; do echo "$word"; done'],
        capture_output=True,
        text=True,
        env={},
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
import yaml
state = os.environ["CALLS"] + "/state.json"
jobs = json.load(open(state)) if os.path.exists(state) else {}
fails = os.environ.get("FAIL") or "none of them"
refusal = None
if "--filename" in sys.argv:
    names = [job["metadata"]["name"] for job in yaml.safe_load_all(open(sys.argv[-1]))]
    missing = [name for name in names if name not in jobs]
if "create" in sys.argv:
    refusal = "AlreadyExists" if len(missing) < len(names) else None
    if "CUT" in os.environ:
        missing, refusal = missing[:2], "connection lost"
    jobs |= dict.fromkeys(missing, "Suspended")
if "patch" in sys.argv:
    jobs[sys.argv[3]] = "Failed" if sys.argv[3].endswith(fails) else "Complete"
if sys.argv[1] == "delete":
    del jobs[sys.argv[3]]
if sys.argv[1:3] == ["get", "jobs"]:
    print(*(f"{name} {condition}" for name, condition in jobs.items()), sep="\\n")
if sys.argv[1:3] == ["get", "--filename"] and missing:
    refusal = "NotFound"
json.dump(jobs, open(state, "w"))
sys.exit(refusal)
"""
)


@pytest.fixture
def kubernetes_script(graph: Graph, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The script of run 7, for a kubectl of ours in tmp_path/bin."""
    file = tmp_path / "pipeline.json"
    clusters.write("kubernetes", graph, CONFIG, file, "7")
    program(tmp_path / "bin", "kubectl", KUBECTL)
    monkeypatch.setenv("SECONDS_BETWEEN", "0")
    return str(file.with_suffix(".kubernetes.sh"))


def let_go(folder: Path) -> list[str]:
    """The Jobs that were let go, without what all of their names begin with."""
    names = [call[2] for call in lines(folder / "calls") if call[0] == "patch"]
    return [re.sub("^cxr-7-[0-9a-f]{8}-", "", name) for name in names]


def test_kubernetes_jobs_are_let_go_in_order(kubernetes_script: str, tmp_path: Path) -> None:
    for _ in range(2):  # the second time it goes on
        done = bash(kubernetes_script, tmp_path / "bin")
        assert done.returncode == 0, done.stderr
    calls = lines(tmp_path / "bin" / "calls")
    assert sum("create" in call for call in calls) == 1
    first, *between, last = let_go(tmp_path / "bin")[:4]
    assert (first, set(between), last) == ("transform", {"trainer-a-b", "trainer-c"}, "ensemble")
    assert calls[-1][:2] == ["get", "jobs"], "it has seen the last one complete"


@pytest.mark.parametrize("fails", ["trainer-c", "ensemble"])
def test_a_kubernetes_job_that_fails_ends_the_script(
    kubernetes_script: str, tmp_path: Path, fails: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FAIL", fails)
    done = bash(kubernetes_script, tmp_path / "bin")
    assert done.returncode == 1
    said = re.fullmatch(
        rf"(cxr-7-\w+-{fails}) failed: kubectl logs job/(\S+); to try it again, "
        r"(kubectl delete job \S+) and start this script\n",
        done.stderr,
    )
    assert said and said[1] == said[2]
    assert ("ensemble" in let_go(tmp_path / "bin")) == (fails == "ensemble")
    assert bash(kubernetes_script, tmp_path / "bin").returncode == 1, "it has failed still"
    monkeypatch.setenv("FAIL", "")
    (tmp_path / "delete").write_text(said[3])
    assert bash(str(tmp_path / "delete"), tmp_path / "bin").returncode == 0
    assert bash(kubernetes_script, tmp_path / "bin").returncode == 0


def test_kubernetes_jobs_of_which_some_were_made_are_completed(
    kubernetes_script: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CUT", "")
    assert bash(kubernetes_script, tmp_path / "bin").returncode == 1
    assert not let_go(tmp_path / "bin")
    monkeypatch.delenv("CUT")
    done = bash(kubernetes_script, tmp_path / "bin")
    assert done.returncode == 0, done.stderr
    assert len(let_go(tmp_path / "bin")) == 4


def test_no_two_runs_have_the_same_kubernetes_jobs(graph: Graph) -> None:
    runs = [(graph, "7.1"), (graph, "7+1"), (graph, "R"), (graph, "r")]
    runs.append((Graph(graph.name, "/another/root", UPSTREAM), "r"))
    names, labels = set(), set()
    for one, run_id in runs:
        for job in yaml.safe_load_all(kubernetes.jobs(one, CONFIG, Path("/p.json"), run_id)):
            names.add(job["metadata"]["name"])
            labels.add(job["metadata"]["labels"]["cxrflow-run"])
    assert (len(names), len(labels)) == (5 * 4, 5)


def test_kubernetes_takes_each_job(graph: Graph) -> None:
    from tests.serving.test_deploy import strict

    jobs = [*yaml.safe_load_all(kubernetes.jobs(graph, CONFIG, Path("/r/p.json"), "1"))]
    run = jobs[0]["metadata"]["labels"]["cxrflow-run"]
    assert re.fullmatch("1-[0-9a-f]{8}", run)
    assert [job["metadata"]["name"] for job in jobs] == [
        f"cxr-{run}-transform",
        f"cxr-{run}-trainer-a-b",
        f"cxr-{run}-trainer-c",
        f"cxr-{run}-ensemble",
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
        (("b" * 64,), "b" * 54 + "-" + hashlib.sha256(b"b" * 64).hexdigest()[:8]),
    ],
)
def test_names_that_kubernetes_takes(parts: tuple[str, ...], name: str) -> None:
    assert object_name(*parts) == name and len(name) <= 63


@pytest.mark.parametrize(
    ("run_id", "run"), [("r1", "r1"), ("", "{{$.pipeline_job_uuid}}")], ids=["named", "Kubeflow's"]
)
def test_kubeflow_specification_is_taken_by_kfp(
    graph: Graph, tmp_path: Path, run_id: str, run: str
) -> None:
    if not _has("kfp"):
        pytest.skip("no kfp here")
    from kfp.components import load_component_from_file

    settings = {
        "metadata": {"kind": "mysql", "host": "db", "password_variable": "DB_PASSWORD"},
        "storage": {"artifacts": "gs://bucket/run"},
    }
    file = tmp_path / "pipeline.json"
    clusters.write("kubeflow", replace(graph, config=settings), CONFIG, file, run_id)
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
    for task in tasks.values():
        assert task["inputs"]["parameters"]["run_id"]["runtimeValue"] == {"constant": run}
    on_kubernetes = platform["platforms"]["kubernetes"]["deploymentSpec"]["executors"]
    assert len(on_kubernetes) == 4
    for executor in on_kubernetes.values():
        (mounted,), (secret,) = executor["pvcMount"], executor["secretAsEnv"]
        assert (mounted["constant"], mounted["mountPath"]) == ("cxrflow", "/")
        assert (secret["secretName"], secret["optional"]) == ("cxrflow", True)
        assert secret["keyToEnv"] == [
            {"envVar": name, "secretKey": name}
            for name in ("DB_PASSWORD", "GOOGLE_APPLICATION_CREDENTIALS")
        ]


@pytest.mark.parametrize("package", ["kfp", "kfp.kubernetes"])
def test_kubeflow_without_its_packages_is_refused_before_the_compilation(
    monkeypatch: pytest.MonkeyPatch, package: str
) -> None:
    kfp = types.ModuleType("kfp")
    kfp.__path__ = []
    monkeypatch.setitem(sys.modules, "kfp", kfp)
    monkeypatch.delitem(sys.modules, "kfp.kubernetes", raising=False)
    if package == "kfp":
        monkeypatch.delitem(sys.modules, "kfp")
        monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    with pytest.raises(CxrflowError, match=rf"package {re.escape(package)},.*cxrflow\[kubeflow\]"):
        clusters.require("kubeflow", "")


@pytest.mark.parametrize("engine", ["", "slurm", "kubernetes"])
def test_a_run_id_is_checked_before_the_compilation(engine: str) -> None:
    clusters.require(engine, "7+1")
    with pytest.raises(CxrflowError, match="--run-id 'a b'"):
        clusters.require(engine, "a b")


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
