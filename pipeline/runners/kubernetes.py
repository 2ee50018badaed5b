"""A compiled pipeline as plain Kubernetes Jobs, and the script that starts each when it may.

Kubernetes knows no order among Jobs: all are made suspended, which takes no resources, and the
script lets one go when the Jobs before it are complete, until all are or one has failed.
"""

import shlex
from pathlib import Path
from typing import Any

import yaml

from cxrflow.pipeline.cluster import ClusterConfig
from cxrflow.pipeline.graph import Graph
from cxrflow.pipeline.runners.commands import SECRET, node_command, object_name, short_hash

_SCRIPT = """\
#!/bin/bash
# Of `cxrflow compile --engine kubernetes`. Makes the Jobs of run {run_id}, lets each go when the
# ones before it are complete, and waits for the last or for one that fails: bash {path}
# Stopped and started again it goes on. NAMESPACE={{your own}} is kubectl's --namespace.
set -euo pipefail
kubectl=(kubectl ${{NAMESPACE:+--namespace "$NAMESPACE"}})
declare -A after=( # Job -> Jobs before it
{after}
)
names=("${{!after[@]}}")
jobs={jobs}
all_there() {{ "${{kubectl[@]}}" get --filename "$jobs" &> /dev/null; }}
# Not `apply`, which would suspend again what runs. `create` fails where some are there already.
all_there || "${{kubectl[@]}}" create --filename "$jobs" || all_there
columns='{{.metadata.name}} {{.status.conditions[?(@.status=="True")].type}}'
while true; do
  declare -A state=()
  while read -r job condition; do state[$job]=${{condition:-}}; done < <(
    "${{kubectl[@]}}" get jobs --selector cxrflow-run={run_label} \\
      --output "jsonpath={{range .items[*]}}$columns{{'\\n'}}{{end}}")
  complete=0
  for job in "${{names[@]}}"; do
    if [[ ${{state[$job]:-}} == *Failed* ]]; then
      echo "$job failed: ${{kubectl[*]}} logs job/$job; to try it again," \\
        "${{kubectl[*]}} delete job $job and start this script" >&2
      exit 1
    fi
    if [[ ${{state[$job]:-}} == *Complete* ]]; then complete=$((complete + 1)); fi
  done
  if ((complete == ${{#names[@]}})); then exit; fi
  for job in "${{!after[@]}}"; do
    for before in ${{after[$job]}}; do
      [[ ${{state[$before]:-}} == *Complete* ]] || continue 2
    done
    "${{kubectl[@]}}" patch job "$job" --patch '{{"spec": {{"suspend": false}}}}'
    unset "after[$job]"
  done
  sleep "${{SECONDS_BETWEEN:-5}}"
done
"""


def jobs(graph: Graph, config: ClusterConfig, file: Path, run_id: str) -> str:
    """The Jobs as YAML, all suspended."""
    made = [_job(graph, node, config, file, run_id) for node in graph.upstream]
    return yaml.safe_dump_all(made, sort_keys=False)


def script(graph: Graph, run_id: str, path: Path, jobs_file: Path) -> str:
    """The text of the script that starts them."""
    names = {node: _name(graph, node, run_id) for node in graph.upstream}
    after = [
        f'  [{names[node]}]="{" ".join(names[one] for one in before)}"'
        for node, before in graph.upstream.items()
    ]
    return _SCRIPT.format(
        run_id=run_id,
        run_label=_run_label(graph, run_id),
        path=shlex.quote(str(path)),
        jobs=shlex.quote(str(jobs_file)),
        after="\n".join(after),
    )


def _name(graph: Graph, node: str, run_id: str) -> str:
    return object_name(graph.name, _run_label(graph, run_id), node)


def _run_label(graph: Graph, run_id: str) -> str:
    """What tells a run's Jobs from those of 7+1 beside 7.1, and of other roots' runs."""
    return object_name(run_id, short_hash(graph.root, run_id))


def _job(graph: Graph, node: str, config: ClusterConfig, file: Path, run_id: str) -> dict[str, Any]:
    wanted = config.of(node)
    limits = {"cpu": str(wanted.cpus), "memory": f"{wanted.memory_gb}Gi"}
    if wanted.gpus:
        limits["nvidia.com/gpu"] = str(wanted.gpus)
    labels = {"app": "cxrflow", "cxrflow-run": _run_label(graph, run_id)}
    container = {
        "name": "node",
        "image": config.image,
        "command": node_command(["cxrflow"], file, run_id, node),
        "resources": {"requests": dict(limits), "limits": limits},
        "volumeMounts": [{"name": "cxrflow", "mountPath": config.mount}],
        # The password of a metadata server and a bucket's account, if there are any.
        "envFrom": [{"secretRef": {"name": SECRET, "optional": True}}],
    }
    volume = {"name": "cxrflow", "persistentVolumeClaim": {"claimName": config.claim}}
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": _name(graph, node, run_id), "labels": labels},
        "spec": {
            "suspend": True,
            "backoffLimit": 2,
            "template": {
                "metadata": {"labels": labels},
                "spec": {
                    "restartPolicy": "Never",
                    "containers": [container],
                    "volumes": [volume],
                },
            },
        },
    }
