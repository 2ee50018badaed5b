"""A compiled pipeline as an Airflow DAG, one operator a node; a file for Airflow's dags folder.

CXRFLOW_PIPELINE  file of `cxrflow compile`; scheduler and workers see it, root and data at one path
CXRFLOW_PROGRAM   the command `cxrflow` of the workers (default: "cxrflow")

Airflow's own environment needs neither TFX nor TensorFlow; it has to find cxrflow's modules:
`pip install --no-deps cxrflow`, or PYTHONPATH. `cluster.nodes` of the profile says which queue a
node goes to, so that trainers run on workers with a GPU, at the same time where there are several.
"""

import os
import shlex
from datetime import datetime
from pathlib import Path

from airflow import DAG
from airflow.operators.bash import BashOperator

from cxrflow.pipeline.cluster import ClusterConfig
from cxrflow.pipeline.graph import read_graph
from cxrflow.pipeline.runners.commands import node_command


def make(file: Path, program: str) -> DAG:
    """The DAG of a compiled pipeline; Airflow's run id is that of ML Metadata.

    Args:
        file: of `cxrflow compile`.
        program: shell words that start cxrflow on the workers.
    """
    graph = read_graph(file)
    config = ClusterConfig(**graph.config.get("cluster", {}))
    dag = DAG(
        dag_id=graph.name,
        schedule=None,
        start_date=datetime(2026, 1, 1),
        catchup=False,
        max_active_runs=1,  # two runs would share checkpoints
    )
    tasks = {}
    for node, before in graph.upstream.items():
        queue = config.of(node).queue
        words = node_command(shlex.split(program), file, "RUN_ID", node)
        tasks[node] = BashOperator(
            task_id=node,
            bash_command=shlex.join(words).replace("RUN_ID", "{{ run_id }}"),
            append_env=True,
            retries=1,
            dag=dag,
            **({"queue": queue} if queue else {}),
        )
        for one in before:
            tasks[one] >> tasks[node]
    return dag


if "CXRFLOW_PIPELINE" in os.environ:
    dag = make(Path(os.environ["CXRFLOW_PIPELINE"]), os.environ.get("CXRFLOW_PROGRAM", "cxrflow"))
