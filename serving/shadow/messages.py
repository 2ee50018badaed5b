"""What the server and the process of the second version say to each other."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np


@dataclass(frozen=True)
class Ask:
    """A request to the second version."""

    folder: Path  # of the version
    signature: str
    inputs: dict[str, np.ndarray]
    outputs: tuple[str, ...]  # those that the version has are given
    max_bytes: int  # of one input


@dataclass(frozen=True)
class Said:
    """The answer, or why there is none."""

    values: dict[str, np.ndarray]
    seconds: float  # that the version took
    error: str = ""
