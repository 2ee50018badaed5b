"""The packages that only some commands need: the extras of pyproject.toml bring them."""

import importlib.util
import sys
from typing import Literal

from cxrflow.schema.errors import CxrflowError

Extra = Literal["pipeline", "server", "gateway", "kubeflow"]


def require(package: str, extra: Extra) -> None:
    """Raises CxrflowError, which names the extra to install, where a package is missing."""
    if package not in sys.modules and importlib.util.find_spec(package) is None:
        raise CxrflowError(missing(package, extra))


def missing(package: str, extra: Extra) -> str:
    """What to say when a package isn't there."""
    return (
        f"this command needs the package {package}, which isn't installed: "
        f'pip install "cxrflow[{extra}]"'
    )
