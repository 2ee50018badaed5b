"""A compiled pipeline as a script for Slurm: one job a node, after those of the nodes before it."""

import shlex
from pathlib import Path

from cxrflow.pipeline.cluster import ClusterConfig, Resources
from cxrflow.pipeline.graph import Graph
from cxrflow.pipeline.runners.commands import node_command, own_program, quoted

_HEAD = """\
#!/bin/bash
# Of `cxrflow compile --engine slurm`. Submits the pipeline {name}: bash {script} [RUN_ID]
# The same RUN_ID again goes on where that run stopped: finished nodes end at once.
set -euo pipefail
run_id=${{1:-$(date +%Y%m%d-%H%M%S)}}
logs={logs}/"$run_id"
mkdir -p "$logs"
declare -A job

submit() {{ # NODE, nodes before it (separated by blanks), options of sbatch ..., command
  local node=$1 after= before
  for before in $2; do after+=:${{job[$before]}}; done
  local options=("${{@:3:$#-3}}")
  [[ $after ]] && options+=("--dependency=afterok$after" --kill-on-invalid-dep=yes)
  job[$node]=$(sbatch --parsable --job-name={name}."$node" --output="$logs/$node.slurm.log" \\
    "${{options[@]}}" --wrap "run_id=$(printf %q "$run_id"); ${{@: -1}}")
  job[$node]=${{job[$node]%%;*}} # "id;cluster" where there are several clusters
  echo "$node: job ${{job[$node]}}"
}}

"""


def script(graph: Graph, config: ClusterConfig, file: Path, path: Path) -> str:
    """The script's text.

    Args:
        graph: of the pipeline.
        config: what nodes get.
        file: the compiled pipeline.
        path: where the script will lie.
    """
    lines = [
        _HEAD.format(
            name=graph.name,
            script=shlex.quote(str(path)),
            logs=shlex.quote(str(Path(graph.root) / "logs")),
        )
    ]
    for node, before in graph.upstream.items():
        command = quoted(node_command(own_program(), file, "$run_id", node), "run_id")
        options = _options(config.of(node))
        words = [node, " ".join(before), *options, command]
        lines.append(" ".join(["submit", *(shlex.quote(word) for word in words)]))
    return "\n".join([*lines, 'echo "run $run_id"', ""])


def _options(wanted: Resources) -> list[str]:
    options = [f"--cpus-per-task={wanted.cpus}", f"--mem={wanted.memory_gb}G"]
    if wanted.gpus:
        options.append(f"--gres=gpu:{wanted.gpus}")
    if wanted.queue:
        options.append(f"--partition={wanted.queue}")
    return options
