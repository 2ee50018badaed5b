"""The trainer's tiny data set and network."""

import runpy
from pathlib import Path

_trainer = runpy.run_path(str(Path(__file__).parents[1] / "train" / "conftest.py"))
tiny, tiny_backbone = _trainer["tiny"], _trainer["tiny_backbone"]
