"""The connection to ML Metadata that a compiled pipeline names. Imports TFX."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

from ml_metadata.metadata_store import MetadataStore
from tfx.orchestration import metadata
from tfx.orchestration.local import runner_utils
from tfx.proto.orchestration import pipeline_pb2

from cxrflow.pipeline.ir import metadata_config
from cxrflow.pipeline.metadata_server import refused


def connection_of(ir: pipeline_pb2.Pipeline) -> Any:
    """What the IR says; of `ir.of_run` with the password of a server."""
    found = runner_utils.extract_local_deployment_config(ir).metadata_connection_config
    return getattr(found, found.WhichOneof("connection_config"))


@contextmanager
def connected(ir: pipeline_pb2.Pipeline) -> Iterator[MetadataStore]:
    """ML Metadata's store, of an IR of `ir.of_run`; makes its tables if they are missing.

    Raises:
        CxrflowError: the server refuses.
        RuntimeError: the file can't be opened.
    """
    config = metadata_config(ir)
    connection = metadata.Metadata(connection_of(ir))
    with ExitStack() as stack:
        try:
            handle = stack.enter_context(connection)
        except RuntimeError as error:  # of ten attempts, and without a reason
            if config.is_server:
                raise refused(config) from error
            raise
        yield handle.store
