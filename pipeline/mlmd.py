"""The connection to ML Metadata that a compiled pipeline names. Imports TFX."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from ml_metadata.metadata_store import MetadataStore
from ml_metadata.proto import metadata_store_pb2
from tfx.orchestration import metadata
from tfx.orchestration.local import runner_utils
from tfx.proto.orchestration import pipeline_pb2

from cxrflow.pipeline.ir import metadata_config
from cxrflow.pipeline.metadata_server import MetadataConfig, refused


def connection_config(config: MetadataConfig, root: Path) -> metadata_store_pb2.ConnectionConfig:
    """Of ML Metadata, without a password.

    Args:
        config: where it is.
        root: the run's folder, which holds the file of SQLite.
    """
    if not config.is_server:
        # TFX makes the folder that stands before the name.
        return metadata.sqlite_metadata_connection_config(f"{root}/metadata.sqlite")
    return metadata.mysql_metadata_connection_config(
        config.host, config.port, config.database, config.user, ""
    )


def connection_of(ir: pipeline_pb2.Pipeline) -> Any:
    """What the IR says; of `ir.of_run` with the password of a server."""
    found = runner_utils.extract_local_deployment_config(ir).metadata_connection_config
    return getattr(found, found.WhichOneof("connection_config"))


@contextmanager
def connected(ir: pipeline_pb2.Pipeline) -> Iterator[MetadataStore]:
    """ML Metadata's store, of an IR of `ir.of_run`; makes its tables if they are missing.

    Raises:
        CxrflowError: the server refuses.
    """
    config = metadata_config(ir)
    connection = metadata.Metadata(connection_of(ir))
    with ExitStack() as stack:
        try:
            handle = stack.enter_context(connection)
        except RuntimeError as error:  # of ten attempts, and without a reason
            raise (refused(config) if config.is_server else error) from error
        yield handle.store
