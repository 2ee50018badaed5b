"""A compiled pipeline for Kubeflow Pipelines v2: a container a node, over a shared volume.

TFX's own runner for Kubeflow takes neither unions of channels nor resolvers of one's own; a command
for each node takes both, since TFX's portable launcher runs inside the container. Needs kfp.
"""

from pathlib import Path
from typing import Any

from cxrflow.pipeline.cluster import ClusterConfig
from cxrflow.pipeline.graph import Graph
from cxrflow.pipeline.metadata_server import MetadataConfig
from cxrflow.pipeline.runners.commands import SECRET, node_command, object_name


def write(graph: Graph, config: ClusterConfig, file: Path, run_id: str, output: Path) -> None:
    """Writes the pipeline's specification as YAML.

    Args:
        graph: of the pipeline.
        config: what nodes get, the image and the volume.
        file: the compiled pipeline, which the containers see at the same path.
        run_id: of every run that is made of it; empty: the id that Kubeflow gives each.
        output: where to write; ends with .yaml.
    """
    from kfp import compiler, dsl
    from kfp import kubernetes as on_kubernetes

    run = run_id or dsl.PIPELINE_JOB_ID_PLACEHOLDER
    secrets = {name: name for name in _secrets(graph)}

    @dsl.pipeline(name=object_name(graph.name))  # type: ignore[untyped-decorator]
    def pipeline() -> None:
        tasks: dict[str, Any] = {}
        for node, before in graph.upstream.items():
            task = _component(node, config.image, file)(run_id=run)
            task.after(*(tasks[one] for one in before))
            task.set_caching_options(False)  # ML Metadata knows better
            task.set_display_name(node)
            wanted = config.of(node)
            task.set_cpu_limit(str(wanted.cpus)).set_memory_limit(f"{wanted.memory_gb}Gi")
            if wanted.gpus:
                task.set_accelerator_type("nvidia.com/gpu").set_accelerator_limit(wanted.gpus)
            on_kubernetes.mount_pvc(task, pvc_name=config.claim, mount_path=config.mount)
            if secrets:  # where one is missing, the node says so in a line
                on_kubernetes.use_secret_as_env(task, SECRET, secrets, optional=True)
            tasks[node] = task

    compiler.Compiler().compile(pipeline, str(output))


def _secrets(graph: Graph) -> list[str]:
    """The environment variables of the nodes that are the Secret's keys."""
    metadata = MetadataConfig(**graph.config.get("metadata", {}))
    found = [metadata.password_variable] if metadata.is_server else []
    if graph.config.get("storage", {}).get("artifacts"):
        found.append("GOOGLE_APPLICATION_CREDENTIALS")
    return found


def _component(node: str, image: str, file: Path) -> Any:
    from kfp import dsl

    def command(run_id: str) -> dsl.ContainerSpec:
        words: list[Any] = node_command(["cxrflow"], file, "", node)
        at = words.index("--run-id") + 1
        return dsl.ContainerSpec(image=image, command=[*words[:at], run_id, *words[at + 1 :]])

    # kfp names a component after its function.
    command.__name__ = object_name(node).replace("-", "_")
    return dsl.container_component(command)
