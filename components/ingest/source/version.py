"""What changes when a described source does, and the contract that its examples keep."""

import hashlib
import os
from collections.abc import Iterator
from pathlib import Path

from cxrflow.components.ingest.folder import SYNTHETIC_MARK
from cxrflow.components.ingest.source.read import key_path
from cxrflow.components.ingest.source.rows import table_paths
from cxrflow.components.ingest.source.settings import DataConfig
from cxrflow.components.ingest.source.walk import files_below
from cxrflow.schema.errors import unreadable
from cxrflow.schema.features import SLICE_PREFIX, UNKNOWN, UNKNOWN_AGE, UNKNOWN_FINDINGS
from cxrflow.schema.pseudonyms import Pseudonyms


def fingerprint_source(root: Path, data: DataConfig) -> str:
    """A hash that changes with a source: its tables by content, its images by stat.

    Returns:
        32 hexadecimal digits.

    Raises:
        CxrflowError: a table or the key isn't there, or the folder can't be read.
    """
    digest = hashlib.blake2b(digest_size=16)
    try:
        for path in table_paths(root, data):
            digest.update(os.fsencode(path.relative_to(root)) + b"\0")
            digest.update(hashlib.blake2b(path.read_bytes()).digest())
        # A copy of phantoms is the same data, whether or not it kept the times.
        timed = not (root / SYNTHETIC_MARK).is_file()
        for name, size, changed in sorted(_stats(root / data.images.folder)):
            digest.update(name + f"\0{size}\0{changed if timed else 0}\n".encode())
    except OSError as error:
        raise unreadable(root, error) from None
    if key := key_path(root, data):
        digest.update(Pseudonyms.read(key).of("version", "").encode())  # another key, other ids
    return digest.hexdigest()


def contract(schema: str, data: DataConfig) -> str:
    """The schema of raw examples, as text, with the source's classes, groups and unknowns.

    Args:
        schema: the text of schema/schema.pbtxt.
        data: the description.
    """
    from google.protobuf import text_format
    from tensorflow_metadata.proto.v0 import schema_pb2

    made = text_format.Parse(schema, schema_pb2.Schema())
    features = {feature.name: feature for feature in made.feature}
    domains = {domain.name: domain for domain in made.string_domain}
    features["findings"].value_count.max = len(data.labels.names)
    features["patient/age"].int_domain.min = UNKNOWN_AGE
    del domains["finding"].value[:]
    domains["finding"].value.extend(sorted(data.labels.names))
    for name in ("sex", "view"):
        domains[name].value.append(UNKNOWN)
    if data.labels.has_unknown:
        made.feature.add(name=UNKNOWN_FINDINGS, type=schema_pb2.BYTES, domain="finding")
    for name in data.slices:
        feature = made.feature.add(name=f"{SLICE_PREFIX}{name}", type=schema_pb2.BYTES)
        feature.presence.min_fraction, feature.presence.min_count = 1.0, 1
        feature.shape.SetInParent()
    return str(text_format.MessageToString(made))


def _stats(folder: Path) -> Iterator[tuple[bytes, int, int]]:
    """Path, bytes and time of change of all files; -1 where a link can't be followed."""
    for path in files_below(folder):
        try:
            status = os.stat(os.path.join(folder, path))
        except OSError:
            yield os.fsencode(path), -1, -1
        else:
            yield os.fsencode(path), status.st_size, status.st_mtime_ns
