"""A whole pipeline as TFX's intermediate representation (IR), from which nodes are run one by one.

The file is what json_format makes of TFX's own message. The root's absolute path stands in the
default of its parameter `pipeline-root`; every other path below the root is relative to it, as in a
run of `cxrflow run`. Imports TFX.
"""

import dataclasses
import json
from pathlib import Path
from typing import Any

from google.protobuf import json_format
from google.protobuf.wrappers_pb2 import StringValue
from ml_metadata.proto.metadata_store_pb2 import ConnectionConfig
from tfx.dsl.compiler.compiler import Compiler
from tfx.dsl.compiler.constants import PIPELINE_ROOT_PARAMETER_NAME, PIPELINE_RUN_ID_PARAMETER_NAME
from tfx.orchestration.pipeline import Pipeline
from tfx.orchestration.portable.runtime_parameter_utils import substitute_runtime_parameter
from tfx.proto.orchestration import pipeline_pb2

from cxrflow.components.storage import ARTIFACTS
from cxrflow.pipeline.metadata_server import MetadataConfig
from cxrflow.pipeline.record import Origin
from cxrflow.schema.errors import CxrflowError
from cxrflow.schema.files import write_whole


def compiled(pipeline: Pipeline, root: Path, origin: Origin) -> pipeline_pb2.Pipeline:
    """The IR of a pipeline whose paths are relative to `root`, an absolute path."""
    ir = Compiler().compile(pipeline)
    ir.runtime_spec.pipeline_root.runtime_parameter.default_value.string_value = str(
        root / ARTIFACTS
    )
    deployment = _deployment(ir)
    text = json.dumps(dataclasses.asdict(origin), sort_keys=True)
    deployment.pipeline_level_platform_config.Pack(StringValue(value=text))
    ir.deployment_config.Pack(deployment, deterministic=True)
    return ir


def write(ir: pipeline_pb2.Pipeline, file: Path) -> None:
    """Writes the IR as JSON, whole or not at all."""
    file.parent.mkdir(parents=True, exist_ok=True)
    write_whole(file, json_format.MessageToJson(ir, sort_keys=True) + "\n")


def read(file: Path) -> pipeline_pb2.Pipeline:
    """The IR that `write` wrote.

    Raises:
        CxrflowError: the file is another one, or of another version of TFX.
    """
    try:
        text = file.read_text(encoding="utf-8")
        return json_format.Parse(text, pipeline_pb2.Pipeline())
    except (OSError, ValueError, json_format.ParseError) as error:
        first = " ".join(str(error).split())[:200]
        raise CxrflowError(
            f"{file} is no pipeline of this TFX ({first}): compile it anew"
        ) from None


def of_run(ir: pipeline_pb2.Pipeline, run_id: str) -> pipeline_pb2.Pipeline:
    """The IR of one run, to be launched inside the root; it has the password of a server.

    Raises:
        CxrflowError: the environment doesn't have it.
    """
    bound = pipeline_pb2.Pipeline()
    bound.CopyFrom(ir)
    values = {PIPELINE_RUN_ID_PARAMETER_NAME: run_id, PIPELINE_ROOT_PARAMETER_NAME: artifacts(ir)}
    substitute_runtime_parameter(bound, values)
    config = metadata_config(ir)
    if config.is_server:
        _set_password(bound, config.password())
    return bound


def node_ids(ir: pipeline_pb2.Pipeline) -> list[str]:
    """The nodes, in an order in which they can run."""
    return [node.pipeline_node.node_info.id for node in ir.nodes]


def metadata_config(ir: pipeline_pb2.Pipeline) -> MetadataConfig:
    """Where ML Metadata is."""
    return MetadataConfig(**origin(ir).config.get("metadata", {}))


def artifacts(ir: pipeline_pb2.Pipeline) -> str:
    """What TFX calls the pipeline's root: a folder, relative to the run's, or a bucket's URI."""
    return str(origin(ir).config.get("storage", {}).get("artifacts") or ARTIFACTS)


def origin(ir: pipeline_pb2.Pipeline) -> Origin:
    """What was put beside the pipeline when it was compiled."""
    text = StringValue()
    _deployment(ir).pipeline_level_platform_config.Unpack(text)
    return Origin(**json.loads(text.value))


def _set_password(ir: pipeline_pb2.Pipeline, password: str) -> None:
    deployment, connection = _deployment(ir), ConnectionConfig()
    deployment.metadata_connection_config.Unpack(connection)
    connection.mysql.password = password
    deployment.metadata_connection_config.Pack(connection)
    ir.deployment_config.Pack(deployment, deterministic=True)


def _deployment(ir: pipeline_pb2.Pipeline) -> Any:
    deployment = pipeline_pb2.IntermediateDeploymentConfig()
    ir.deployment_config.Unpack(deployment)
    return deployment
