"""What a pipeline was compiled with, so that a node that is run with something else says so."""

from collections.abc import Mapping
from pathlib import Path

from cxrflow.pipeline.cache_key import Sources
from cxrflow.schema.errors import CxrflowError
from cxrflow.schema.packages import installed

# What decides on a node's result; the code, since two checkouts may have the same version.
_PACKAGES = ("cxrflow", "tfx", "tensorflow", "keras", "apache-beam")
_CODE = "code"
_WIRING = "cxrflow.pipeline.dag"  # imports every node


def here() -> dict[str, str]:
    """Versions of the packages by name, and the hash of the code of all nodes."""
    versions = {name: installed(name) or "missing" for name in _PACKAGES}
    return versions | {_CODE: Sources.read().key(_WIRING)}


def require_same(file: Path, compiled: Mapping[str, str], found: Mapping[str, str]) -> None:
    """Refuses a pipeline that other code has compiled: its cache keys aren't this code's.

    Args:
        file: of the pipeline, for the message.
        compiled: what `here` gave as it was compiled.
        found: what it gives now.

    Raises:
        CxrflowError: they differ; says in what.
    """
    others = [
        f"{name} {compiled.get(name, 'unknown')} (here {found[name]})"
        for name in found
        if compiled.get(name) != found[name]
    ]
    if others:
        raise CxrflowError(
            f"{file} was compiled with {', '.join(others)}: compile it anew, or use what compiled "
            "it; what is finished comes from the cache where its code is the same"
        )
