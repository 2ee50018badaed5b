"""ML Metadata's paths, so that a run's folder can be moved. Imports MLMD."""

from pathlib import Path, PurePath

from ml_metadata.metadata_store import MetadataStore
from ml_metadata.proto import metadata_store_pb2


def make_relative(database: Path) -> None:
    """Makes the paths that runs of earlier versions left in ML Metadata relative to their root.

    They were absolute: a copy of such a root would read the original's files.
    """
    if not database.is_file():
        return
    config = metadata_store_pb2.ConnectionConfig()
    config.sqlite.filename_uri = str(database)
    store = MetadataStore(config)
    artifacts = store.get_artifacts()
    roots = {_root_of(artifact.uri) for artifact in artifacts} - {""}
    if not roots:
        return
    for artifact in artifacts:
        artifact.uri = _below(artifact.uri, roots)
        for value in artifact.custom_properties.values():
            if value.WhichOneof("value") == "string_value":
                value.string_value = _below(value.string_value, roots)
    store.put_artifacts(artifacts)


def _root_of(uri: str) -> str:
    """The root of an artifact's absolute `<root>/artifacts/<node>/<key>/<execution>`, else ""."""
    path = PurePath(uri)
    inside = path.is_absolute() and len(path.parts) > 5 and path.parts[-4] == "artifacts"
    return str(path.parents[3]) if inside else ""


def _below(text: str, roots: set[str]) -> str:
    root = next((root for root in roots if text.startswith(f"{root}/")), "")
    return text[len(root) + 1 :] if root else text
