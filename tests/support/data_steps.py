"""ImageExampleGen and Transform as TFX runs them, and as they are killed on the way."""

import json
import os
import signal
from collections.abc import Sequence
from pathlib import Path
from typing import Any


def artifact(kind: type, uri: Path) -> Any:
    """An artifact whose folder is there."""
    made = kind()
    made.uri = str(uri)
    uri.mkdir(parents=True, exist_ok=True)
    return made


def ingest(
    data_dir: Path,
    settings: dict,
    root: Path,
    execution: int = 7,
    beam: Sequence[str] = ("--runner=FnApiRunner",),
    **more: Any,
) -> list:
    """Runs ImageExampleGen's executor with options of Beam; returns its three artifacts."""
    from tfx.types.standard_artifacts import Examples

    from cxrflow.components.artifacts import Quarantine
    from cxrflow.components.ingest.executor import Executor

    kinds = {"examples": Examples, "records": Examples, "quarantine": Quarantine}
    outputs = {
        key: [artifact(kind, root / "ImageExampleGen" / key / str(execution))]
        for key, kind in kinds.items()
    }
    given = {"data_dir": str(data_dir), "data_version": "f", "ingest": settings, **more}
    context = Executor.Context(
        beam_pipeline_args=[*beam, "--sdk_container_image=none"],
        tmp_dir=str(root),
        unique_id=str(execution),
    )
    Executor(context).Do({}, outputs, {"settings": json.dumps(given), "code_version": "c"})
    return [artifacts[0] for artifacts in outputs.values()]


def transform(root: Path, settings: dict, splits: list[str], execution: int = 8) -> Any:
    """Runs Transform's executor on folders raw, records and schema of the root; returns examples.

    Outputs are <root>/Transform/graph/<execution> and <root>/Transform/examples/<execution>.
    """
    from tfx.types import standard_artifacts as standard

    from cxrflow.components.transform.executor import Executor

    raw, records = (artifact(standard.Examples, root / name) for name in ("raw", "records"))
    raw.split_names = records.split_names = json.dumps(splits)
    raw.set_int_custom_property("synthetic", 1)
    schema = artifact(standard.Schema, root / "schema")
    here = root / "Transform"
    graph = artifact(standard.TransformGraph, here / "graph" / str(execution))
    examples = artifact(standard.Examples, here / "examples" / str(execution))
    context = Executor.Context(beam_pipeline_args=["--runner=FnApiRunner"], tmp_dir=str(root))
    Executor(context).Do(
        {"examples": [raw], "records": [records], "schema": [schema]},
        {"transform_graph": [graph], "transformed_examples": [examples]},
        {"settings": json.dumps(settings)},
    )
    return examples


def killed_ingest(images: int, shard: int, *args: Any) -> int:
    """Runs `ingest` in a process that kills itself after so many images; how it ended.

    shard: images of a file. The process is a fork, since ingest uses none of TensorFlow's threads.
    """
    child = os.fork()
    if not child:
        try:
            from cxrflow.components.ingest import executor
            from cxrflow.schema import progress

            def report(done: int, total: int | None, unit: str = "images") -> None:
                if done >= images:
                    os.kill(os.getpid(), signal.SIGKILL)

            progress.report, executor._SHARD = report, shard
            ingest(*args)
        finally:
            os._exit(1)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
