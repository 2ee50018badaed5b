"""A compiled pipeline as plain Kubernetes Jobs, and the script that starts each when it may.

Kubernetes knows no order among Jobs: all are made suspended, which takes no resources, and the
script lets one go when the Jobs before it are complete.
"""

import shlex
from pathlib import Path
from typing import Any

import yaml

from cxrflow.pipeline.cluster import ClusterConfig
from cxrflow.pipeline.graph import Graph
from cxrflow.pipeline.runners.commands import node_command, object_name

_SCRIPT = """\
#!/bin/bash
# Of `cxrflow compile --engine kubernetes`. Makes the Jobs of run {run_id} and lets each go when the
# ones before it are complete: bash {path}
# Stopped and started again it goes on. NAMESPACE={{your own}} is kubectl's --namespace.
set -euo pipefail
kubectl=(kubectl ${{NAMESPACE:+--namespace "$NAMESPACE"}})
declare -A after=( # Job -> Jobs before it
{after}
)
jobs={jobs}
"${{kubectl[@]}}" get --filename "$jobs" &> /dev/null || "${{kubectl[@]}}" create --filename "$jobs"
columns='{{.metadata.name}} {{.status.conditions[?(@.status=="True")].type}}'
while ((${{#after[@]}})); do
  declare -A state=()
  while read -r job condition; do state[$job]=${{condition:-}}; done < <(
    "${{kubectl[@]}}" get jobs --selector cxrflow-run={run_label} \\
      --output "jsonpath={{range .items[*]}}$columns{{'\\n'}}{{end}}")
  for job in "${{!after[@]}}"; do
    for before in ${{after[$job]}}; do
      if [[ ${{state[$before]:-}} == *Failed* ]]; then
        echo "$before failed: ${{kubectl[*]}} logs job/$before" >&2
        exit 1
      fi
      [[ ${{state[$before]:-}} == *Complete* ]] || continue 2
    done
    "${{kubectl[@]}}" patch job "$job" --patch '{{"spec": {{"suspend": false}}}}'
    unset "after[$job]"
  done
  sleep "${{SECONDS_BETWEEN:-5}}"
done
"${{kubectl[@]}}" wait --for=condition=complete --timeout=-1s {last}
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
    needed = {one for before in graph.upstream.values() for one in before}
    return _SCRIPT.format(
        run_id=run_id,
        run_label=object_name(run_id),
        path=shlex.quote(str(path)),
        jobs=shlex.quote(str(jobs_file)),
        after="\n".join(after),
        last=" ".join(f"job/{names[node]}" for node in graph.upstream if node not in needed),
    )


def _name(graph: Graph, node: str, run_id: str) -> str:
    return object_name(graph.name, run_id, node)


def _job(graph: Graph, node: str, config: ClusterConfig, file: Path, run_id: str) -> dict[str, Any]:
    wanted = config.of(node)
    limits = {"cpu": str(wanted.cpus), "memory": f"{wanted.memory_gb}Gi"}
    if wanted.gpus:
        limits["nvidia.com/gpu"] = str(wanted.gpus)
    labels = {"app": "cxrflow", "cxrflow-run": object_name(run_id)}
    container = {
        "name": "node",
        "image": config.image,
        "command": node_command(["cxrflow"], file, run_id, node),
        "resources": {"requests": dict(limits), "limits": limits},
        "volumeMounts": [{"name": "cxrflow", "mountPath": config.mount}],
        # The password of a metadata server, if there is one.
        "envFrom": [{"secretRef": {"name": "cxrflow", "optional": True}}],
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
