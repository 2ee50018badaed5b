"""The stamp of a whole environment: what it was made of."""

import hashlib
import json
import sys
from typing import Any, Dict

from . import places

LAYOUT = 1  # raise it when environments made before have to be made anew


def stamp_key() -> Dict[str, str]:
    """What the environment depends on: `base` asks for a new one, `content` for other packages."""
    content = places.LOCK.read_bytes() + (places.REPO / "pyproject.toml").read_bytes()
    return {
        "base": f"{sys.version} {sys.base_prefix} {places.VENV} {LAYOUT}",
        "content": hashlib.sha256(content).hexdigest(),
    }


def read_stamp() -> Dict[str, Any]:
    """{} when there is no whole environment."""
    try:
        stamp = json.loads(places.STAMP.read_text())
    except (OSError, ValueError):
        return {}
    return stamp if isinstance(stamp, dict) and (places.VENV / "bin" / "python").exists() else {}


def write_stamp(stamp: Dict[str, Any]) -> None:
    """Writes what the environment was made of, whole or not at all."""
    aside = places.STAMP.with_suffix(".new")
    aside.write_text(json.dumps(stamp) + "\n")
    aside.replace(places.STAMP)
