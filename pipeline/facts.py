"""What a pipeline's wiring needs to know of the world, looked up before it; imports no TFX."""

import hashlib
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from cxrflow.components.ingest.folder import fingerprint
from cxrflow.components.ingest.source.settings import DataConfig
from cxrflow.components.ingest.source.version import contract, fingerprint_source
from cxrflow.components.localise.boxes import boxes_in, read_boxes
from cxrflow.components.model.weights import weights_fingerprint
from cxrflow.components.publish.push import published
from cxrflow.pipeline.cache_key import ROOT, Sources
from cxrflow.pipeline.data import is_synthetic
from cxrflow.pipeline.metadata_server import root_id
from cxrflow.pipeline.settings import PipelineConfig
from cxrflow.schema.errors import CxrflowError

SCHEMA = ROOT / "schema" / "schema.pbtxt"


@dataclass(frozen=True)
class Facts:
    """The data, the code and what is published already, at one moment."""

    data_version: str  # `folder.fingerprint`
    synthetic: bool  # the X-rays are phantoms
    official_split: bool  # test is what the official list in the data folder names
    weights: Mapping[str, str]  # `weights.weights_fingerprint` of each member, by name
    schema: Path  # a copy whose path changes with the content
    published: str  # `push.published` of the model
    published_edge: str  # and of the edge bundle
    sources: Sources  # the code, for cache keys
    boxes: str = ""  # the list of radiologists' boxes; empty without one
    boxes_version: str = ""  # hash of its content
    root_id: str = ""  # `metadata_server.root_id`


def gather(config: PipelineConfig, data_dir: Path, root: Path) -> Facts:
    """Looks everything up, and copies the data's schema below `root`.

    Args:
        config: a run's settings.
        data_dir: the X-rays.
        root: the run's folder.

    Raises:
        CxrflowError: the data folder can't be read, or a node of the pipeline needs Docker, which
            doesn't answer, or the list of boxes can't be read.
    """
    if config.serving_check.kind == "infra_validator":
        _require_docker()
    boxes = _boxes(config, data_dir)
    return Facts(
        data_version=version_of(data_dir, config.data),
        synthetic=is_synthetic(data_dir),
        official_split=config.data is None and is_official(config.ingest.split, data_dir),
        weights={name: weights_fingerprint(one) for name, one in config.members.items()},
        schema=_named_by_content(_schema(config), root),
        published=published(serving_folder(config, root)),
        published_edge=published(edge_folder(root)),
        sources=Sources.read(),
        boxes=str(boxes or ""),
        boxes_version=hashlib.sha256(boxes.read_bytes()).hexdigest()[:16] if boxes else "",
        root_id=root_id(config.metadata, root),
    )


def version_of(data_dir: Path, source: DataConfig | None) -> str:
    """A hash that changes when the data does."""
    return fingerprint_source(data_dir, source) if source else fingerprint(data_dir)


def is_official(split: str, data_dir: Path) -> bool:
    """Whether `ingest.split` takes the official lists of this folder."""
    return split == "official" or (split == "auto" and (data_dir / "test_list.txt").is_file())


def serving_folder(config: PipelineConfig, root: Path) -> Path:
    """Where the pushed model's versions lie."""
    return root / "serving" / config.name


def edge_folder(root: Path) -> Path:
    """Where the pushed edge bundles lie."""
    return root / "edge"


def _boxes(config: PipelineConfig, data_dir: Path) -> Path | None:
    """The list of boxes, looked into so that a damaged one stops the run before it begins."""
    named = config.localise.boxes
    found = Path(named) if named else boxes_in(data_dir)
    if found:
        read_boxes(found)
    return found


def _schema(config: PipelineConfig) -> bytes:
    """The contract of the raw examples, with a described source's classes and groups."""
    content = SCHEMA.read_bytes()
    return contract(content.decode(), config.data).encode() if config.data else content


def _named_by_content(content: bytes, root: Path) -> Path:
    """Writes the schema to a path that changes with it: ImportSchemaGen's cache knows only that."""
    copy = root / "schema" / hashlib.sha256(content).hexdigest()[:16] / SCHEMA.name
    copy.parent.mkdir(parents=True, exist_ok=True)
    copy.write_bytes(content)
    return copy


def _require_docker() -> None:
    docker = shutil.which("docker")
    if not docker or subprocess.run([docker, "info"], capture_output=True).returncode:
        raise CxrflowError(
            "serving_check.kind infra_validator needs Docker, which doesn't answer here: start it, "
            "or take embedded"
        )
