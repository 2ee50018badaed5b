"""Descriptions of data sources: ready ones by name, and files."""

from pathlib import Path
from typing import Any

from cxrflow.components.ingest.source import READY
from cxrflow.components.ingest.source.spelling import composed
from cxrflow.schema.errors import CxrflowError, did_you_mean
from cxrflow.schema.yaml_file import read_yaml

FILE = "data.yaml"  # of a data folder
_EXAMPLE = "a description, which begins with `tables:`"


def ready_names() -> list[str]:
    """The descriptions that ship with cxrflow."""
    return sorted(path.stem for path in READY.glob("*.yaml"))


def ready(name: str) -> str:
    """A ready description, as text.

    Raises:
        CxrflowError: there is none of this name.
    """
    if name in ready_names():
        return (READY / f"{name}.yaml").read_text(encoding="utf-8")
    raise _unknown(name)


def described(values: dict[str, Any], base: Path, data_dir: Path | None) -> dict[str, Any]:
    """Settings whose `data` is a mapping: what its name or file says.

    Args:
        values: a profile's.
        base: where the path of a file begins.
        data_dir: the data folder; where the profile says nothing of `data`, its description counts.

    Raises:
        CxrflowError: there is no such description, or it can't be read.
    """
    said = values.get("data")
    if "data" not in values and data_dir and (data_dir / FILE).is_file():
        said = (data_dir / FILE).absolute()  # of the working folder, not of the profile's
    if not isinstance(said, (str, Path)):
        return values
    if str(said) in ready_names():
        path = READY / f"{said}.yaml"
    else:
        path = base / Path(said).expanduser()
        if path.suffix not in (".yaml", ".yml") or not path.is_file():
            raise _unknown(str(said))
    return {**values, "data": read_yaml(path, _EXAMPLE)}


def with_source_classes(values: dict[str, Any]) -> dict[str, Any]:
    """Settings whose `ingest.classes` are all those of a description, unless some are named."""
    data, ingest = values.get("data"), values.get("ingest") or {}
    labels = data.get("labels") if isinstance(data, dict) else None
    classes = labels.get("classes") if isinstance(labels, dict) else None
    if not isinstance(classes, dict) or not isinstance(ingest, dict) or "classes" in ingest:
        return values
    names = list(dict.fromkeys(map(_composed, classes.values())))
    return {**values, "ingest": {**ingest, "classes": names}}


def _composed(name: Any) -> Any:
    """A class's name as `data` has it; what is none is told as its own field's fault."""
    return composed(name) if isinstance(name, str) else name


def _unknown(name: str) -> CxrflowError:
    known = ready_names()
    return CxrflowError(
        f"data: no description {name!r}{did_you_mean(name, known)}: name one of "
        f"{', '.join(known)} or a YAML file that is there"
    )
